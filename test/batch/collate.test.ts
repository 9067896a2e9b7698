// A window's requests and whoever ends their batch at that moment, on PostgreSQL, where both are under way at once.
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, test, vi } from 'vitest';
import { openBooks, type Books } from '../../src/batch/books.ts';
import { Collator, type Collected } from '../../src/batch/collate.ts';
import { contentsInDatabase } from '../../src/batch/contents.ts';
import { migrate } from '../../src/batch/db/migrate.ts';
import { openDatabase } from '../../src/batch/db/open.ts';
import { migrations } from '../../src/batch/migrations.ts';
import { unanswered } from '../../src/batch/result.ts';
import type { Tables } from '../../src/batch/tables.ts';
import type { BatchConfig } from '../../src/types.ts';
import { startPostgres, type PostgresServer } from '../stage/postgres.ts';

const request = (custom_id: string, owner = 'alice'): Collected => ({
  owner,
  endpoint: 'chat/completions',
  model: 'm',
  upstream: undefined,
  custom_id,
  body: Buffer.from('{}'),
  item: custom_id,
  answer: null,
  waits: false,
});

interface Stage {
  readonly books: Books;
  readonly collator: Collator;
  readonly postgres: PostgresServer;
}

async function stage(): Promise<Stage> {
  const postgres = await startPostgres();
  const database = await openDatabase<Tables>({ folder: '', url: postgres.url });
  const collate = { window_ms: 60_000, lines_max: 100, bytes_max: 1e6 };
  const config = (): BatchConfig => ({ collate }) as unknown as BatchConfig;
  const means = { config, answer_bytes_max: () => 0 };
  await migrate(database, migrations(database));
  const books = openBooks(database, contentsInDatabase(database), randomUUID(), means, () => undefined);
  const collator = new Collator(books, () => undefined);
  onTestFinished(async () => {
    await collator.stop();
    await database.close();
    await postgres.stop();
  });
  return { books, collator, postgres };
}

test('a request joins no batch that is being cancelled, nor one whose files are being written', async () => {
  const { books, collator, postgres } = await stage();
  const { batches, gateway } = books;
  const { batch } = await collator.join(request('a', 'alice'));
  await books.finish(unanswered({ batch, n: 0, custom_id: 'a' }, 'x', 'x'));
  await postgres.psql(`create function slow() returns trigger language plpgsql as
    $$ begin perform pg_sleep(0.5); return new; end $$`);
  await postgres.psql('create trigger slow before insert on batches for each row execute function slow()');
  // Written together: while bob's batch is made, alice's has been looked at.
  const joining = [collator.join(request('b', 'alice')), collator.join(request('c', 'bob'))];
  await sleep(200);
  const cancelled = { status: 'cancelling', open: 0, ends_as: 'cancelled' } as const;
  expect(await batches.turn(batch, ['in_progress'], cancelled)).toBe(true);
  // It has a line that has not ended.
  expect(await batches.takeToFinish(gateway, Date.now(), [])).toBeUndefined();
  expect((await Promise.all(joining))[0]).toMatchObject({ batch, n: 1 });
  // The next one opens another batch.
  expect((await collator.join(request('d', 'alice'))).batch).not.toBe(batch);
});

test('a request is not refused for the number of a line whose commit was not heard of', async () => {
  const { books, collator } = await stage();
  const { batch } = await collator.join(request('a'));
  const line = await books.lines.one({ batch, n: 0 });
  if (line === undefined) throw new Error('no line');
  await books.lines.add([{ ...line, n: 1, custom_id: 'lost' }]);
  await books.database.kysely.updateTable('batches').set({ total: 2 }).execute();
  expect(await collator.join(request('b'))).toMatchObject({ batch, n: 2 });
});

test('a window that its gateway did not close is closed and begun in one', async () => {
  const { books, collator } = await stage();
  const { batches } = books;
  const { batch } = await collator.join({ ...request('a'), upstream: 'cloud' });
  expect(await batches.any(batch)).toMatchObject({ status: 'validating', open: 1 });
  // Who is killed between two statements would leave a batch that nobody looks at.
  vi.spyOn(batches, 'turn').mockRejectedValue(new Error('killed'));
  expect(await batches.closeLate(Date.now() + 100_000, Date.now())).toEqual([batch]);
  expect(await batches.any(batch)).toMatchObject({ status: 'in_progress', open: 0 });
});
