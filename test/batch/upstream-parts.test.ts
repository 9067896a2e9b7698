// The parts of the way to another's Batch API by themselves: several gateways at one database, batches that run out of time, files
// of results as nobody should write them.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { openBooks, type Books } from '../../src/batch/books.ts';
import { contentsOnDisk } from '../../src/batch/contents.ts';
import { migrate } from '../../src/batch/db/migrate.ts';
import { openDatabase, type Database, type DialectName } from '../../src/batch/db/open.ts';
import { migrations } from '../../src/batch/migrations.ts';
import { newBatch } from '../../src/batch/new-batch.ts';
import type { Batch } from '../../src/batch/records/batches.ts';
import type { Line } from '../../src/batch/records/lines.ts';
import { Sent } from '../../src/batch/records/sent.ts';
import type { Tables } from '../../src/batch/tables.ts';
import { ingest } from '../../src/batch/upstream/ingest.ts';
import { PATIENCE, type Patience, type UpstreamEvent, type UpstreamMeans } from '../../src/batch/upstream/means.ts';
import { Upstream } from '../../src/batch/upstream/upstream.ts';
import { openLog } from '../../src/ops/log.ts';
import type { BatchConfig } from '../../src/types.ts';
import { startBatchApi } from '../engines/batch-api.ts';
import { startPostgres } from '../stage/postgres.ts';

const CONFIG = {
  collate: { window_ms: 1000, lines_max: 50_000, bytes_max: 190_000_000 },
  upstream: { poll_min_ms: 5, poll_max_ms: 20, keep_files: false },
  tries: 3,
  batch_age_ms: 86_400_000,
} as const;

interface Scene {
  readonly folder: string;
  readonly database: Database<Tables>;
  /** As another gateway sees it. */
  books(gateway: string): Promise<Books>;
}

async function openScene(dialect: DialectName = 'sqlite'): Promise<Scene> {
  const folder = mkdtempSync(join(tmpdir(), 'lanyard-parts-'));
  const server = dialect === 'postgres' ? await startPostgres() : undefined;
  const database = await openDatabase<Tables>({ folder, url: server?.url });
  onTestFinished(async () => {
    await database.close();
    await server?.stop();
    rmSync(folder, { recursive: true, force: true });
  });
  await migrate(database, migrations(database));
  const contents = await contentsOnDisk(join(folder, 'files'), () => 1);
  const config = (): BatchConfig => ({ ...CONFIG, data: folder }) as unknown as BatchConfig;
  const answer_bytes_max = (): number => 0;
  return {
    folder,
    database,
    books: async (gateway) => openBooks(database, contents, gateway, { config, answer_bytes_max }, () => undefined),
  };
}

async function addBatch(books: Books, count: number, change: Partial<Batch> = {}): Promise<string> {
  const asked = { input_file_id: '', endpoint: 'chat/completions', metadata: undefined, output_age_ms: null } as const;
  const empty = newBatch('open', asked, { idempotency_key: null, asked: null }, Date.now());
  const batch: Batch = {
    ...empty,
    status: 'in_progress',
    models: '["m"]',
    total: count,
    ...change,
  };
  await books.batches.add(batch);
  await books.lines.add(Array.from({ length: count }, (_, n) => lineOf(batch.id, n)));
  return batch.id;
}

function lineOf(batch: string, n: number): Line {
  const body = Buffer.from(JSON.stringify({ model: 'm', messages: [{ role: 'user', content: `${batch} ${n}` }] }));
  return {
    batch,
    n,
    custom_id: `c-${n}`,
    model: 'm',
    state: 'waiting',
    rank: 1,
    not_before: 0,
    claimed_by: null,
    shard: null,
    tries: 0,
    at: null,
    bytes: body.length,
    body,
    item: null,
    answer: null,
    told: 0,
    ok: null,
    result: null,
  };
}

const LOG = openLog('ERROR');

interface Way {
  readonly upstream: Upstream;
  readonly events: UpstreamEvent[];
}

function openWay(books: Books, url: () => string | undefined, patience: Patience = PATIENCE): Way {
  const events: UpstreamEvent[] = [];
  const means: UpstreamMeans = {
    place: (model) => (model === 'm' ? { backend: 'cloud', name: 'gpt-4o-mini' } : undefined),
    service: () => {
      const base = url();
      if (base === undefined) return undefined;
      return { url: `${base}/v1`, key: 'sk-upstream-test', tls: undefined, connect_ms: 2000, secrets: [] };
    },
    callerOf: (owner) => ({
      key: owner,
      admin: false,
      models: undefined,
      default_model: undefined,
      address: '',
      bucket: '',
      limits: undefined,
    }),
    told: (event) => void events.push(event),
    log: LOG,
  };
  const upstream = new Upstream(books, means, patience);
  const timer = setInterval(() => upstream.wake(), 20);
  onTestFinished(async () => {
    clearInterval(timer);
    await upstream.stop();
  });
  return { upstream, events };
}

const counts = async (books: Books, id: string): Promise<readonly number[]> => {
  const { completed = 0, failed = 0 } = (await books.batches.any(id)) ?? {};
  return [completed, failed];
};
const until = async (books: Books, id: string, wanted: readonly number[]): Promise<void> =>
  await expect.poll(() => counts(books, id), { timeout: 10_000, interval: 10 }).toEqual(wanted);

test.each(['sqlite', 'postgres'] as const)(
  'several gateways at one database (%s) send each line once',
  async (kind) => {
    const api = await startBatchApi();
    const scene = await openScene(kind);
    const all = await Promise.all(['a', 'b', 'c'].map((name) => scene.books(name)));
    const [first] = all;
    if (first === undefined) throw new Error('no books');
    const ids = await Promise.all(Array.from({ length: 6 }, () => addBatch(first, 50, { window: 'win_1' })));
    for (const books of all) openWay(books, () => api.url);
    for (const id of ids) await until(first, id, [50, 0]);
    expect(api.uploads.map(({ line_count }) => line_count)).toEqual([300]);
    expect(api.batches).toHaveLength(1);
  },
);

test.each(['sqlite', 'postgres'] as const)(
  'what a gateway held that is gone (%s) is taken up by another',
  async (kind) => {
    const api = await startBatchApi();
    api.next('create', { held_after: true });
    const scene = await openScene(kind);
    const dead = await scene.books('dead');
    const id = await addBatch(dead, 10);
    openWay(dead, () => api.url);
    await api.until(({ held }) => held === 1);
    const alive = await scene.books('alive');
    openWay(alive, () => api.url);
    await alive.shards.letGoOf(['dead']);
    await until(alive, id, [10, 0]);
    expect(api.batches).toHaveLength(1);
    // The one that was thought dead comes back, and finds that the shard is another's.
    api.release();
    expect(await counts(alive, id)).toEqual([10, 0]);
  },
);

test('a service that is not configured for a while is waited for', async () => {
  const api = await startBatchApi();
  const books = await (await openScene()).books('a');
  const id = await addBatch(books, 3);
  const at: { url?: string } = {};
  const { events } = openWay(books, () => at.url, { ...PATIENCE, retry_ms: 5 });
  await expect.poll(() => events.some(({ type }) => type === 'failed')).toBe(true);
  at.url = api.url;
  await until(books, id, [3, 0]);
  // The last of them is told just after the lines have their ends.
  const told = (): string[] => events.map(({ type }) => type);
  await expect.poll(told).toEqual(expect.arrayContaining(['uploaded', 'created', 'polled', 'ended']));
});

describe('a batch whose time is over', () => {
  const over = { status: 'finalizing', ends_as: 'expired' } as const;

  test('ends at once where nothing of it is at the service', async () => {
    const books = await (await openScene()).books('a');
    const id = await addBatch(books, 3);
    const { events } = openWay(books, () => undefined);
    await expect.poll(() => events.some(({ type }) => type === 'failed')).toBe(true);
    await books.batches.turn(id, ['in_progress'], { ...over, finalizing_at: Date.now() });
    await until(books, id, [0, 3]);
    const line = await books.lines.one({ batch: id, n: 0 });
    expect(line?.result?.toString()).toContain('"batch_expired"');
  });

  test('waits for what the service says', async () => {
    const api = await startBatchApi({ steps: { in_progress: 1e6 } });
    const books = await (await openScene()).books('a');
    const id = await addBatch(books, 3);
    openWay(books, () => api.url);
    await api.until(({ batches }) => batches[0]?.batch.status === 'in_progress');
    await books.batches.turn(id, ['in_progress'], { ...over, finalizing_at: Date.now() });
    await api.finish(api.batches[0]?.id ?? '', { expired: 2 });
    await until(books, id, [2, 1]);
  });

  test('and waits not for ever: then nobody wants the batch there', async () => {
    const api = await startBatchApi({ steps: { in_progress: 1e6 } });
    const books = await (await openScene()).books('a');
    const id = await addBatch(books, 3);
    openWay(books, () => api.url, { ...PATIENCE, grace_ms: 0 });
    await api.until(({ batches }) => batches[0]?.batch.status === 'in_progress');
    await books.batches.turn(id, ['in_progress'], { ...over, finalizing_at: Date.now() - 1 });
    await until(books, id, [0, 3]);
    await api.until(({ batches, files }) => batches[0]?.batch.status === 'cancelled' && files.length === 0);
  });
});

describe('of a file of results', () => {
  const good = (id: string, says = 'hi'): string =>
    `{"id":"x","custom_id":"${id}","response":{"status_code":200,"request_id":"r","body":{"says":"${says}"}},"error":null}`;

  async function taken(pieces: (batch: string, other: string) => readonly string[]): Promise<(string | undefined)[]> {
    const scene = await openScene();
    const books = await scene.books('a');
    const batch = await addBatch(books, 3);
    const other = await addBatch(books, 3);
    const sent = new Sent(scene.database.kysely, false);
    const room = { lines: 100, bytes: 1e6, line_bytes: 0, any: true };
    await sent.take(scene.database.kysely, 's1', { batch, model: 'm', which: 'all' }, room, Date.now());
    await sent.take(scene.database.kysely, 's2', { batch: other, model: 'm', which: 'all' }, room, Date.now());
    const content = (async function* content() {
      for (const piece of pieces(batch, other)) yield Buffer.from(piece);
    })();
    await ingest(content, 's1', { books, sent, secrets: ['sk-secret'], line_bytes_max: 400 });
    const lines = await Promise.all([0, 1, 2].map((n) => books.lines.one({ batch, n })));
    const others = await Promise.all([0, 1, 2].map((n) => books.lines.one({ batch: other, n })));
    expect(others.every((line) => line?.state === 'sent')).toBe(true);
    return lines.map((line) => line?.result?.toString());
  }

  test.each<[string, (batch: string, other: string) => readonly string[], readonly unknown[]]>([
    ['any order and any cut', (b) => Array.from(`${good(`${b}-2`)}\n${good(`${b}-0`)}\n`), [/hi/, undefined, /hi/]],
    ['a last line without an end', (b) => [good(`${b}-1`)], [undefined, /hi/, undefined]],
    [
      'the first of two for one line',
      (b) => [`${good(`${b}-0`, 'a')}\n`, good(`${b}-0`, 'b')],
      [/"says":"a"/, undefined, undefined],
    ],
    [
      'nothing of what is nobody’s',
      (b, other) => [
        `${good('x')}\n${good(`${b}-99`)}\n${good(`${other}-0`)}\n{"custom_id":7}\n\nnonsense\n[]\n{}\n${good(`${b}-1`)}\n`,
      ],
      [undefined, /hi/, undefined],
    ],
    [
      'nothing of a line that is too long, and the next one',
      (b) => [good(`${b}-0`, 'x'.repeat(500)), '\n', good(`${b}-1`)],
      [undefined, /hi/, undefined],
    ],
    [
      'an error in place of an answer, without secrets',
      (b) => [
        `{"custom_id":"${b}-0","response":null,"error":{"code":"odd","message":"no sk-secret"}}\n`,
        `{"custom_id":"${b}-1","response":null,"error":null}\n`,
        `{"custom_id":"${b}-2","response":{"status_code":500,"body":"<html>"},"error":null}\n`,
      ],
      [/"error":\{"code":"odd","message":"no \[…\]"\}/, /upstream_invalid/, /upstream_invalid/],
    ],
  ])('%s is taken', async (_, pieces, wanted) => {
    const results = await taken(pieces);
    for (const [at, want] of wanted.entries()) {
      if (want === undefined) expect(results[at]).toBeUndefined();
      else expect(results[at]).toMatch(want as RegExp);
    }
  });
});
