// What stands above speaks to both databases in the same words: here they answer the same.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import type { Kysely } from 'kysely';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { DatabaseError, faultOf } from '../../../src/batch/db/fault.ts';
import { migrate } from '../../../src/batch/db/migrate.ts';
import { openDatabase, type Database, type DialectName } from '../../../src/batch/db/open.ts';
import { startPostgres, type PostgresServer } from '../../stage/postgres.ts';
import { migrationsOf, type Tables } from './tables.ts';

let server: PostgresServer;
beforeAll(async () => {
  server = await startPostgres();
});
afterAll(() => server?.stop());

describe.for<DialectName>(['sqlite', 'postgres'])('%s', (dialect) => {
  /** Empty, without tables. */
  async function openEmpty(): Promise<Database<Tables>> {
    const folder = mkdtempSync(join(tmpdir(), 'lanyard-db-'));
    if (dialect === 'postgres') await server.psql('drop schema public cascade; create schema public');
    const db = await openDatabase<Tables>({ url: dialect === 'postgres' ? server.url : undefined, folder });
    onTestFinished(async () => {
      await db.close();
      rmSync(folder, { recursive: true });
    });
    return db;
  }

  async function open(): Promise<Database<Tables>> {
    const db = await openEmpty();
    await migrate(db, migrationsOf(dialect));
    return db;
  }

  test('gives back what was stored: text, bytes, whole numbers, nothing', async () => {
    const { kysely } = await open();
    const value = fc.record({
      name: fc.option(fc.string({ unit: 'binary' }).filter((text) => !text.includes('\0'))),
      bytes: fc.option(fc.uint8Array({ maxLength: 3000 })),
      number: fc.option(fc.maxSafeInteger()),
    });
    await fc.assert(
      fc.asyncProperty(value, async (thing) => {
        await kysely.deleteFrom('things').execute();
        await kysely.insertInto('things').values(thing).execute();
        const read = await kysely.selectFrom('things').select(['name', 'bytes', 'number']).executeTakeFirstOrThrow();
        expect(read).toEqual({ ...thing, bytes: thing.bytes && Buffer.from(thing.bytes) });
      }),
      { numRuns: 40 },
    );
  });

  test.for([
    ['none', 0],
    ['one', 1],
    ['what is copied between threads', 16_383],
    ['what is handed over', 16_384],
    ['many', 20_000_000],
  ] as const)('gives back bytes as a Buffer: %s', async ([, size]) => {
    const { kysely } = await open();
    const whole = Buffer.alloc(size + 20, 'lanyard');
    const bytes = whole.subarray(10, 10 + size);
    await kysely.insertInto('things').values({ bytes }).execute();
    const read = await kysely.selectFrom('things').select('bytes').executeTakeFirstOrThrow();
    expect(Buffer.isBuffer(read.bytes)).toBe(true);
    expect(bytes.equals(read.bytes ?? Buffer.from('nothing'))).toBe(true);
    // What was given is still the giver's.
    expect(whole.length).toBe(size + 20);
  });

  test('counts and sums in numbers', async () => {
    const { kysely, sql } = await open();
    await kysely
      .insertInto('things')
      .values([{ number: 2 ** 40 }, { number: 5 }, { number: -(2 ** 53 - 1) }])
      .execute();
    const { rows } = await sql`
      select count(*) as count, sum(number) as sum, max(number) as max, max(number) / ${2 ** 39 + 1} as quotient from things
    `.execute(kysely);
    expect(rows).toEqual([{ count: 3, sum: 2 ** 40 + 5 - (2 ** 53 - 1), max: 2 ** 40, quotient: 1 }]);
  });

  test('throws for a number that would not be exact, and goes on', async () => {
    const { kysely } = await open();
    await kysely
      .insertInto('things')
      .values({ number: 2n ** 53n + 1n })
      .execute();
    await expect(kysely.selectFrom('things').select('number').execute()).rejects.toThrow(/too large/);
    expect(await kysely.selectFrom('things').select('id').execute()).toHaveLength(1);
  });

  test('tells how many rows a statement changed, and returns what is asked for', async () => {
    const { kysely } = await open();
    const ids = await kysely
      .insertInto('things')
      .values([{ number: 1 }, { number: 2 }])
      .returning('id')
      .execute();
    expect(ids).toEqual([{ id: 1 }, { id: 2 }]);
    const [changed] = await kysely.updateTable('things').set({ name: null }).execute();
    expect(changed?.numUpdatedRows).toBe(2n);
    const none = await kysely.deleteFrom('things').where('id', '=', 77).executeTakeFirst();
    expect(none.numDeletedRows).toBe(0n);
  });

  test('never gives a key twice', async () => {
    const { kysely } = await open();
    const add = (): Promise<{ id: number }> =>
      kysely.insertInto('things').values({ name: null }).returning('id').executeTakeFirstOrThrow();
    const first = await add();
    await kysely.deleteFrom('things').execute();
    expect((await add()).id).toBeGreaterThan(first.id);
  });

  test('rolls a transaction back that throws', async () => {
    const { kysely } = await open();
    const failed = kysely.transaction().execute(async (trx) => {
      await trx.insertInto('things').values({ name: 'a' }).execute();
      throw new Error('changed my mind');
    });
    await expect(failed).rejects.toThrow('changed my mind');
    expect(await kysely.selectFrom('things').selectAll().execute()).toEqual([]);
  });

  test('keeps what is asked beside a transaction out of it', async () => {
    const { kysely } = await open();
    const inside = Promise.withResolvers<void>();
    const leave = Promise.withResolvers<void>();
    const failed = kysely.transaction().execute(async (trx) => {
      await trx.insertInto('things').values({ name: 'inside' }).execute();
      inside.resolve();
      await leave.promise;
      throw new Error('rolled back');
    });
    await inside.promise;
    const beside = kysely.insertInto('things').values({ name: 'beside' }).execute();
    const streamed = await Array.fromAsync(kysely.selectFrom('things').select('name').stream());
    expect(streamed.filter(({ name }) => name === 'inside')).toEqual([]);
    leave.resolve();
    await expect(failed).rejects.toThrow('rolled back');
    await beside;
    expect(await kysely.selectFrom('things').select('name').execute()).toEqual([{ name: 'beside' }]);
  });

  test('runs transactions of many callers each as one', async () => {
    const { kysely } = await open();
    const { id } = await kysely.insertInto('things').values({ number: 0 }).returning('id').executeTakeFirstOrThrow();
    const addOne = (): Promise<void> =>
      kysely.transaction().execute(async (trx) => {
        const row = trx.selectFrom('things').select('number').where('id', '=', id);
        const { number } = await (dialect === 'sqlite' ? row : row.forUpdate()).executeTakeFirstOrThrow();
        await trx
          .updateTable('things')
          .set({ number: Number(number) + 1 })
          .where('id', '=', id)
          .execute();
      });
    await Promise.all(Array.from({ length: 30 }, addOne));
    expect(await kysely.selectFrom('things').select('number').executeTakeFirst()).toEqual({ number: 30 });
  });

  test('undoes a part of a transaction', async () => {
    const { kysely } = await open();
    const trx = await kysely.startTransaction().execute();
    await trx.insertInto('things').values({ name: 'kept' }).execute();
    const after = await trx.savepoint('before').execute();
    await after.insertInto('things').values({ name: 'undone' }).execute();
    await (await after.rollbackToSavepoint('before').execute()).commit().execute();
    expect(await kysely.selectFrom('things').select('name').execute()).toEqual([{ name: 'kept' }]);
  });

  test.for([
    [0, 10],
    [1, 10],
    [10, 10],
    [11, 10],
    [500, 7],
  ] as const)('streams %i rows in pages of %i', async ([rows, page]) => {
    const { kysely } = await open();
    const ids = await addRows(kysely, rows);
    const read = await Array.fromAsync(kysely.selectFrom('things').select('id').orderBy('id').stream(page));
    expect(read.map(({ id }) => id)).toEqual(ids);
  });

  test('a stream sees one state from its first row to its last, and others write meanwhile', async () => {
    const { kysely } = await open();
    const ids = await addRows(kysely, 40);
    const read: number[] = [];
    for await (const { id } of kysely.selectFrom('things').select('id').orderBy('id').stream(10)) {
      if (read.length === 0) await kysely.deleteFrom('things').execute();
      read.push(id);
    }
    expect(read).toEqual(ids);
    expect(await kysely.selectFrom('things').select('id').execute()).toEqual([]);
  });

  test('a stream within a transaction sees what that has written', async () => {
    const { kysely } = await open();
    await kysely.transaction().execute(async (trx) => {
      const ids = await addRows(trx, 25);
      const read = await Array.fromAsync(trx.selectFrom('things').select('id').orderBy('id').stream(10));
      expect(read.map(({ id }) => id)).toEqual(ids);
      await trx.updateTable('things').set({ number: 1 }).execute();
    });
    expect(await kysely.selectFrom('things').select('id').where('number', '=', 1).execute()).toHaveLength(25);
  });

  test('a stream that is left, or that fails, leaves nothing behind', async () => {
    const { kysely, sql } = await open();
    await addRows(kysely, 50);
    // More of them than the pool has connections.
    for (let time = 0; time < 12; time += 1) {
      for await (const _ of kysely.selectFrom('things').select('id').stream(5)) break;
      const failing = kysely
        .selectFrom('things')
        .select(sql`number / missing`.as('x'))
        .stream(5);
      await expect(Array.fromAsync(failing)).rejects.toThrow(/missing/);
    }
    expect(await addRows(kysely, 1)).toHaveLength(1);
  });

  test('a key that is there: unique, and the transaction goes back', async () => {
    const { kysely } = await open();
    await kysely.insertInto('things').values({ name: 'a' }).execute();
    const again = kysely.transaction().execute(async (trx) => {
      await trx.insertInto('things').values({ name: 'b' }).execute();
      await trx.insertInto('things').values({ name: 'a' }).execute();
    });
    expect(faultOf(await again.catch((error: unknown) => error))).toBe('unique');
    expect(await kysely.selectFrom('things').select('name').execute()).toEqual([{ name: 'a' }]);
    const by_key = kysely.insertInto('things').values({ id: 1 }).execute();
    expect(faultOf(await by_key.catch((error: unknown) => error))).toBe('unique');
  });

  test('a mistake is other, and harms nobody', async () => {
    const { kysely, sql } = await open();
    expect(faultOf(await sql`selec 1`.execute(kysely).catch((error: unknown) => error))).toBe('other');
    expect(await kysely.selectFrom('things').selectAll().execute()).toEqual([]);
  });

  test('migrates once, all or nothing, and refuses a database that is newer', async () => {
    const db = await openEmpty();
    const first = migrationsOf(dialect);
    const bad = {
      ...first,
      '002-bad': {
        async up(kysely: Kysely<unknown>) {
          await kysely.schema.createTable('half').addColumn('a', 'integer').execute();
          throw new Error('bad migration');
        },
      },
    };
    await expect(migrate(db, bad)).rejects.toThrow('bad migration');
    await expect(db.kysely.selectFrom('things').selectAll().execute()).rejects.toThrow(/things/);
    expect(await migrate(db, first)).toEqual(['001-things']);
    expect(await migrate(db, first)).toEqual([]);
    expect(await migrate(db, { ...first, '002-more': { up: async () => {} } })).toEqual(['002-more']);
    const older = await migrate(db, first).catch((error: unknown) => error);
    expect(older).toBeInstanceOf(DatabaseError);
    expect((older as Error).message).toBe(
      `${db.where} has been used by a newer version of lanyard (002-more): use that version, or a backup`,
    );
  });

  test('has bytes of any view, and nothing but what a database stores', async () => {
    const { kysely } = await open();
    await kysely
      .insertInto('things')
      .values({ bytes: new Uint8Array([1, 2, 3, 4]).subarray(1, 3) })
      .execute();
    expect(await kysely.selectFrom('things').select('bytes').executeTakeFirst()).toEqual({
      bytes: Buffer.from([2, 3]),
    });
  });
});

async function addRows(kysely: Kysely<Tables>, count: number): Promise<number[]> {
  if (count === 0) return [];
  const values = Array.from({ length: count }, () => ({ name: null }));
  const rows = await kysely.insertInto('things').values(values).returning('id').execute();
  return rows.map(({ id }) => id).sort((a, b) => a - b);
}
