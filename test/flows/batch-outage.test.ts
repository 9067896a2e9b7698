// What batches do when their disk is full, or their database away: nothing that was accepted is lost, and nobody else feels it.
import { expect, onTestFinished, test } from 'vitest';
import { startEngine, type FakeEngine } from '../engines/engine.ts';
import { chatLine, ended, fileLines, openBatchGateway, submit, upload } from '../stage/batches.ts';
import { startPostgres, type PostgresServer } from '../stage/postgres.ts';
import { startRedis } from '../stage/redis.ts';

const CHAT = '/v1/chat/completions';
const chat = { model: 'm', messages: [{ role: 'user', content: 'Hi' }] };

async function engineOf(): Promise<FakeEngine> {
  const engine = await startEngine({ kind: 'vllm', models: ['x'] });
  onTestFinished(() => engine.stop());
  return engine;
}

async function postgresOf(): Promise<PostgresServer> {
  const postgres = await startPostgres();
  onTestFinished(() => postgres.stop());
  return postgres;
}

const yaml = ({ url }: FakeEngine, more = ''): string => `
backends: { rack: { engine: vllm, url: "${url}", slots: 2 } }
models: { m: [rack/x] }
${more}`;

test('on a full disk results are held until there is room, and nothing new is accepted', async () => {
  const engine = await engineOf();
  const { client, batching, logged } = await openBatchGateway(yaml(engine));
  const { sql, kysely } = batching!.books.database;
  engine.always({ kind: 'hold' });
  const ids = Array.from({ length: 30 }, (_, n) => `line-${n}`);
  const batch = await submit(
    client,
    ids.map((id) => chatLine(id, 'm', 'x'.repeat(2_000))),
  );
  await engine.until(({ held }) => held === 2);
  // SQLite itself says that there is no more room: as much as there is now, and no page more.
  const { rows } = await sql<{ page_count: number }>`pragma page_count`.execute(kysely);
  await sql`pragma max_page_count = ${sql.raw(String(rows[0]?.page_count))}`.execute(kysely);
  engine.always(undefined);
  engine.release();
  await expect.poll(() => logged(), { timeout: 10_000 }).toContain('batches pause');
  // A few more rows may fit into what is there.
  const uploads = async (): Promise<void> => {
    for (let n = 0; n < 200; n += 1) await upload(client, ['{}'], `${'x'.repeat(200)}.jsonl`);
  };
  await expect(uploads()).rejects.toMatchObject({ status: 507, code: 'insufficient_storage' });
  await sql`pragma max_page_count = 1000000`.execute(kysely);
  const done = await ended(client, batch.id);
  expect(done.request_counts).toMatchObject({ total: 30, completed: 30, failed: 0 });
  expect((await fileLines(client, done.output_file_id)).map(({ custom_id }) => custom_id)).toEqual(ids);
});

test('while PostgreSQL is away batches wait, all else is served, and they go on when it answers', async () => {
  const engine = await engineOf();
  const postgres = await postgresOf();
  const { client, ask } = await openBatchGateway(yaml(engine, `database: "${postgres.url}"`));
  engine.always({ kind: 'hold' });
  const ids = Array.from({ length: 20 }, (_, n) => `line-${n}`);
  const batch = await submit(
    client,
    ids.map((id) => chatLine(id, 'm')),
  );
  await engine.until(({ held }) => held === 2);
  await postgres.halt();
  engine.always(undefined);
  engine.release();
  await expect(client.batches.retrieve(batch.id)).rejects.toMatchObject({ status: 503, code: 'batches_unavailable' });
  const answer = await ask(CHAT, chat, { headers: { 'x-lanyard-mode': 'batch-async' } });
  expect(answer.status).toBe(503);
  await answer.text();
  expect((await ask(CHAT, chat)).status).toBe(200);
  await postgres.start();
  const done = await ended(client, batch.id, 20_000);
  expect(done.request_counts).toMatchObject({ total: 20, completed: 20, failed: 0 });
  expect((await fileLines(client, done.output_file_id)).map(({ custom_id }) => custom_id)).toEqual(ids);
}, 40_000);

test('a gateway starts while PostgreSQL is away, and has batches once it answers', async () => {
  const engine = await engineOf();
  const postgres = await postgresOf();
  await postgres.halt();
  const { client, ask, logged } = await openBatchGateway(yaml(engine, `database: "${postgres.url}"`));
  expect((await ask(CHAT, chat)).status).toBe(200);
  await expect(client.files.list()).rejects.toMatchObject({ status: 503, code: 'batches_unavailable' });
  await postgres.start();
  await expect.poll(async () => (await ask('/v1/files')).status, { timeout: 15_000 }).toBe(200);
  const done = await ended(client, (await submit(client, [chatLine('a', 'm')])).id);
  expect(done.status).toBe('completed');
  expect(logged()).not.toContain(postgres.password);
}, 40_000);

test('two gateways give each other’s answers again, out of one Redis', async () => {
  const engine = await engineOf();
  const redis = await startRedis();
  onTestFinished(() => redis.stop());
  const text = yaml(engine, `redis: "${redis.url}"\ncache: {}\n`);
  const [one, two] = [await openBatchGateway(text), await openBatchGateway(text)];
  let n = 0;
  const given = async (): Promise<string> => {
    const body = { ...chat, temperature: 0, seed: (n += 1) };
    const first = await (await one.ask(CHAT, body)).text();
    const again = await two.ask(CHAT, body);
    return (await again.text()) === first ? String(again.headers.get('x-cache')) : 'another answer';
  };
  // Redis is asked by a connection of its own, which must be there first.
  await expect.poll(given).toBe('hit');
});
