// Files and batches on our own engines, as OpenAI's client sees them.
import { readdirSync, rmSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { NotFoundError, toFile, type OpenAI } from 'openai';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import type { Books } from '../../src/batch/books.ts';
import { DatabaseError } from '../../src/batch/db/fault.ts';
import { full } from '../../src/batch/fault.ts';
import { answered } from '../../src/batch/result.ts';
import { digest } from '../../src/config/keys.ts';
import { startEngine, type FakeEngine } from '../engines/engine.ts';
import { KEY } from '../stage/gateway.ts';
import { startPostgres } from '../stage/postgres.ts';
import {
  chatLine,
  clientOf,
  ended,
  fileLines,
  lineOf,
  openBatchGateway,
  submit,
  upload,
  type BatchStage,
} from '../stage/batches.ts';

async function engineOf(): Promise<FakeEngine> {
  const engine = await startEngine({ kind: 'vllm', models: ['x', 'y', { name: 'e', embeds: true }] });
  onTestFinished(() => engine.stop());
  return engine;
}

const ALICE = 'sk-alice-of-the-stage-0123456789abcdef';
const BOB = 'sk-bob-of-the-stage-0123456789abcdefgh';
const hash = (key: string): string => `sha256:${digest(key).toString('hex')}`;

const yaml = (engine: FakeEngine, slots = 4): string => `
auth:
  keys:
    - { name: alice, hash: "${hash(ALICE)}" }
    - { name: bob, hash: "${hash(BOB)}", models: [m] }
backends:
  rack: { engine: vllm, url: "${engine.url}", slots: ${slots} }
models:
  m: [rack/x]
  n: [rack/y]
  e: [rack/e]
`;

async function stage(slots = 4, more = ''): Promise<BatchStage & { readonly engine: FakeEngine }> {
  const engine = await engineOf();
  return Object.assign(await openBatchGateway(yaml(engine, slots), more), { engine });
}

describe('a batch', () => {
  test('of two models runs, and every line is in the output once', async () => {
    const { client, engine } = await stage();
    const ids = Array.from({ length: 50 }, (_, n) => `line-${n}`);
    const lines = ids.map((id, n) => chatLine(id, n % 2 === 0 ? 'm' : 'n'));
    const batch = await submit(client, lines, { metadata: { what: 'a test' } });
    expect(batch).toMatchObject({ object: 'batch', status: 'validating', endpoint: '/v1/chat/completions' });
    const done = await ended(client, batch.id);
    expect(done).toMatchObject({
      status: 'completed',
      request_counts: { total: 50, completed: 50, failed: 0 },
      error_file_id: null,
      metadata: { what: 'a test' },
    });
    const told = await fileLines(client, done.output_file_id);
    expect(told.map(({ custom_id }) => custom_id)).toEqual(ids);
    expect(done.usage?.total_tokens).toBe(done.usage!.input_tokens + done.usage!.output_tokens);
    expect(done.usage?.output_tokens).toBeGreaterThan(0);
    expect(engine.asked).toHaveLength(50);
    const times = [done.created_at, done.in_progress_at, done.finalizing_at, done.completed_at].map(Number);
    expect(times).toEqual(times.toSorted((a, b) => a - b));
  });

  test.each([
    ['/v1/embeddings', { model: 'e', input: 'some text' }, 'list'],
    ['/v1/completions', { model: 'm', prompt: 'Once' }, 'text_completion'],
  ] as const)('of %s runs as well', async (endpoint, body, object) => {
    const { client } = await stage();
    const batch = await submit(client, [lineOf('a', body, endpoint)], { endpoint });
    const done = await ended(client, batch.id);
    const [line] = await fileLines(client, done.output_file_id);
    expect(line).toMatchObject({ custom_id: 'a', response: { status_code: 200, body: { object } }, error: null });
  });

  test('what an engine refuses is in the error file, and harms nobody else', async () => {
    const { client, engine } = await stage(1);
    engine.next({ kind: 'error', what: 'bad_request' });
    const batch = await submit(
      client,
      ['a', 'b', 'c'].map((id) => chatLine(id, 'm')),
    );
    const done = await ended(client, batch.id);
    expect(done).toMatchObject({ status: 'completed', request_counts: { total: 3, completed: 2, failed: 1 } });
    const [failed] = await fileLines(client, done.error_file_id);
    expect(['a', 'b', 'c']).toContain(failed?.custom_id);
    expect(failed?.response?.status_code).toBe(400);
    expect(failed?.response?.body).toMatchObject({ error: { type: 'invalid_request_error' } });
    expect(await fileLines(client, done.output_file_id)).toHaveLength(2);
  });

  test('of which nothing succeeds has no output file', async () => {
    const { client, engine } = await stage(1);
    engine.next({ kind: 'error', what: 'bad_request' });
    const done = await ended(client, (await submit(client, [chatLine('a', 'm')])).id);
    expect([done.status, done.output_file_id]).toEqual(['completed', null]);
    expect(done.error_file_id).toMatch(/^file-/);
  });

  test.each([
    ['429', { kind: 'status', status: 429, headers: { 'retry-after': '0' } }],
    ['503', { kind: 'error', what: 'overloaded' }],
    ['a model that loads', { kind: 'error', what: 'loading' }],
  ] as const)('%s is waited out', async (_name, fault) => {
    const { client, engine } = await stage(1);
    engine.next(fault, fault);
    const done = await ended(client, (await submit(client, [chatLine('a', 'm')])).id);
    expect(done.request_counts).toMatchObject({ completed: 1, failed: 0 });
  });

  test('a line that breaks its engine each time is given up', async () => {
    const { client, engine } = await stage(4, 'tries: 2');
    engine.always({ kind: 'reset' });
    const done = await ended(client, (await submit(client, [chatLine('a', 'm')])).id);
    const [line] = await fileLines(client, done.error_file_id);
    expect(line).toMatchObject({ response: { status_code: 502, body: { error: { code: 'upstream_reset' } } } });
  });

  test('takes no more slots than it may while others work, and yields at once', async () => {
    const { client, engine, ask, fleet } = await stage(4);
    engine.always({ kind: 'hold' });
    const batch = await submit(
      client,
      Array.from({ length: 8 }, (_, n) => chatLine(`b${n}`, 'm')),
    );
    // Alone it has all slots.
    await engine.until(({ held }) => held === 4);
    const first = ask('/v1/chat/completions', { model: 'm', messages: [{ role: 'user', content: 'mine' }] });
    await expect.poll(() => engine.asked.filter(({ body }) => body.toString().includes('mine')).length).toBe(1);
    // With somebody else there: half of them.
    await expect.poll(() => fleet.backends.get('rack')?.lent.size).toBe(2);
    expect(engine.in_flight).toBe(3);
    engine.always(undefined);
    engine.release();
    expect((await first).status).toBe(200);
    await (await first).text();
    const done = await ended(client, batch.id);
    expect(done.request_counts).toMatchObject({ total: 8, completed: 8, failed: 0 });
  });

  test('is cancelled: what has run is told, the rest is told so, and nothing goes on', async () => {
    const { client, engine } = await stage(1);
    const batch = await submit(
      client,
      Array.from({ length: 5 }, (_, n) => chatLine(`c${n}`, 'm')),
    );
    await engine.until(({ asked }) => asked.length >= 1);
    engine.always({ kind: 'hold' });
    await engine.until(({ held }) => held === 1);
    expect((await client.batches.cancel(batch.id)).status).toBe('cancelling');
    await engine.until(({ in_flight }) => in_flight === 0);
    const done = await ended(client, batch.id);
    expect(done.status).toBe('cancelled');
    const [output, errors] = [
      await fileLines(client, done.output_file_id),
      await fileLines(client, done.error_file_id),
    ];
    expect(output.length + errors.length).toBe(5);
    expect(output.length).toBeGreaterThan(0);
    for (const line of errors) expect(line).toMatchObject({ response: null, error: { code: 'batch_cancelled' } });
    await expect(client.batches.cancel(batch.id)).resolves.toMatchObject({ status: 'cancelled' });
  });

  test('cancelled while its lines are found at fault ends', async () => {
    const { client, batching } = await stage();
    const { read, began, go_on } = heldRead(batching);
    const batch = await submit(client, ['nonsense']);
    await began;
    expect((await client.batches.cancel(batch.id)).status).toBe('cancelling');
    go_on();
    expect((await ended(client, batch.id)).status).toBe('cancelled');
    expect(read.mock.calls).toHaveLength(1);
  });

  test('is not let go by a database that is away, and goes on when it answers', async () => {
    const { client, batching } = await stage();
    const { batches, lines } = booksOf(batching);
    vi.spyOn(lines, 'add').mockRejectedValueOnce(new DatabaseError('away', 'gone'));
    const letGo = vi.spyOn(batches, 'letGo').mockRejectedValueOnce(new DatabaseError('away', 'gone'));
    const batch = await submit(client, [chatLine('a', 'm')]);
    expect((await ended(client, batch.id)).status).toBe('completed');
    expect(letGo).toHaveBeenCalledOnce();
  });

  test('whose line could not be given back runs it when the database answers', async () => {
    const { client, batching, engine } = await stage();
    const { lines } = booksOf(batching);
    const giveBack = vi.spyOn(lines, 'giveBack').mockRejectedValueOnce(new DatabaseError('away', 'gone'));
    engine.next({ kind: 'status', status: 503 });
    const batch = await submit(client, [chatLine('a', 'm')]);
    expect((await ended(client, batch.id)).request_counts).toMatchObject({ total: 1, completed: 1 });
    expect(giveBack.mock.calls.length).toBeGreaterThan(1);
  });

  test('whose files find no room waits for it, and keeps nobody else from anything', async () => {
    const { client, batching, logged } = await stage();
    const { contents, answers } = booksOf(batching);
    const sweep = vi.spyOn(answers, 'sweep');
    // A minute is over at each look.
    const now = performance.now.bind(performance);
    const clock = vi.spyOn(performance, 'now').mockImplementation(() => now() * 1000);
    onTestFinished(() => clock.mockRestore());
    const file = await upload(client, [chatLine('a', 'm')]);
    const write = vi.spyOn(contents, 'write').mockRejectedValue(full());
    const asked = { input_file_id: file.id, endpoint: '/v1/chat/completions', completion_window: '24h' } as const;
    const { id } = await client.batches.create(asked);
    await expect.poll(async () => (await client.batches.retrieve(id)).status).toBe('finalizing');
    const before = sweep.mock.calls.length;
    await expect.poll(() => sweep.mock.calls.length, { timeout: 5000 }).toBeGreaterThan(before);
    write.mockRestore();
    expect((await ended(client, id)).status).toBe('completed');
    expect(logged()).not.toContain('bug');
  });

  test('whose file is gone fails, and keeps no other waiting', async () => {
    const { client, data } = await stage();
    const file = await upload(client, [chatLine('a', 'm')]);
    rmSync(join(data, 'files', file.id));
    const asked = { input_file_id: file.id, endpoint: '/v1/chat/completions', completion_window: '24h' } as const;
    const gone = await client.batches.create(asked);
    const good = await submit(client, [chatLine('a', 'm')]);
    expect((await ended(client, good.id)).status).toBe('completed');
    const failed = await ended(client, gone.id);
    expect(failed).toMatchObject({ status: 'failed', errors: { data: [{ code: 'file_not_found' }] } });
  });

  test('a line that finds no room where others of its model would is not tried without end', async () => {
    const engine = await engineOf();
    const other = await startEngine({ kind: 'tei', models: [{ name: 'x', embeds: true }] });
    onTestFinished(() => other.stop());
    const { ask, client, logged } = await openBatchGateway(`
limits: { ip: off }
backends:
  rack: { engine: vllm, url: "${engine.url}", slots: 1 }
  texts: { engine: tei, url: "${other.url}" }
models: { m: [rack/x, texts/x] }
`);
    engine.always({ kind: 'hold' });
    const first = ask('/v1/chat/completions', { model: 'm', messages: [{ role: 'user', content: 'mine' }] });
    await engine.until(({ held }) => held === 1);
    const batch = await submit(client, [chatLine('a', 'm')]);
    const tries = (): number => logged().split('"msg":"line"').length - 1;
    await expect.poll(tries).toBeGreaterThan(0);
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(tries()).toBeLessThan(5);
    engine.always(undefined);
    engine.release();
    await (await first).text();
    expect((await ended(client, batch.id)).status).toBe('completed');
  });

  test('begins no line once the gateway stops', async () => {
    const gateway = await stage();
    const { client, batching, engine } = gateway;
    const { lines } = booksOf(batching);
    engine.always({ kind: 'hold' });
    const claiming = Promise.withResolvers<void>();
    const go_on = Promise.withResolvers<void>();
    const claim = lines.claim.bind(lines);
    vi.spyOn(lines, 'claim').mockImplementation(async (...asked) => {
      const claimed = await claim(...asked);
      claiming.resolve();
      await go_on.promise;
      return claimed;
    });
    await submit(client, [chatLine('a', 'm')]);
    await claiming.promise;
    const stopped = gateway.stop();
    setTimeout(go_on.resolve, 200);
    await stopped;
    expect(engine.asked).toEqual([]);
  });

  test('shows others that its gateway lives, however long a step takes', async () => {
    const { client, batching } = await stage();
    const { database } = booksOf(batching);
    const beat = async (): Promise<number> =>
      (await database.kysely.selectFrom('gateways').select('beat').executeTakeFirstOrThrow()).beat;
    const { began, go_on } = heldRead(batching);
    const batch = await submit(client, [chatLine('a', 'm')]);
    await began;
    const before = await beat();
    await expect.poll(beat, { timeout: 5000 }).toBeGreaterThan(before);
    go_on();
    await ended(client, batch.id);
  });

  test('is left to others where they took its gateway for gone', async () => {
    const { client, batching, engine } = await stage(1);
    const { database } = booksOf(batching);
    const { kysely } = database;
    engine.always({ kind: 'hold' });
    await submit(
      client,
      Array.from({ length: 5 }, (_, n) => chatLine(`l${n}`, 'm')),
    );
    await engine.until(({ held }) => held === 1);
    await kysely.updateTable('lines').set({ claimed_by: 'another' }).where('n', '>', 0).execute();
    await kysely.deleteFrom('gateways').execute();
    const known = async (): Promise<number> => (await kysely.selectFrom('gateways').select('id').execute()).length;
    await expect.poll(known, { timeout: 5000 }).toBe(1);
    engine.always(undefined);
    engine.release();
    await expect.poll(() => engine.in_flight).toBe(0);
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(engine.asked).toHaveLength(1);
  });

  test('counts what no engine can have used as nothing', async () => {
    const tokens = { prompt_tokens: Number.MAX_SAFE_INTEGER, completion_tokens: 3 };
    const line = { batch: 'batch_0', n: 0, custom_id: 'a' };
    for (const pad of [0, 20_000]) {
      const body = Buffer.from(JSON.stringify({ pad: 'x'.repeat(pad), usage: tokens }));
      expect(answered(line, 200, 'req_0', body).tokens).toEqual({ in: 0, out: 3, cached: 0, reasoning: 0 });
    }
  });

  test('out of time tells what has run, and the rest as expired', async () => {
    const { client, engine, batching } = await stage(1);
    const batch = await submit(
      client,
      Array.from({ length: 4 }, (_, n) => chatLine(`e${n}`, 'm')),
    );
    await engine.until(({ asked }) => asked.length >= 1);
    engine.always({ kind: 'hold' });
    await engine.until(({ held }) => held === 1);
    await batching?.books.database.kysely.updateTable('batches').set({ expires_at: 1 }).execute();
    const done = await ended(client, batch.id);
    expect(done.status).toBe('expired');
    const errors = await fileLines(client, done.error_file_id);
    for (const line of errors) expect(line).toMatchObject({ response: null, error: { code: 'batch_expired' } });
    expect((await fileLines(client, done.output_file_id)).length + errors.length).toBe(4);
  });

  test('asked for twice under one Idempotency-Key is one', async () => {
    const { client } = await stage();
    const file = await upload(client, [chatLine('a', 'm')]);
    const asked = { input_file_id: file.id, endpoint: '/v1/chat/completions', completion_window: '24h' } as const;
    const under = { headers: { 'Idempotency-Key': 'one' } };
    const [one, two] = await Promise.all([client.batches.create(asked, under), client.batches.create(asked, under)]);
    expect(two.id).toBe(one.id);
    const other = client.batches.create({ ...asked, metadata: { other: 'yes' } }, under);
    await expect(other).rejects.toMatchObject({ status: 409, code: 'idempotency_conflict' });
  });
});

describe('a file', () => {
  test('is listed, told, read and deleted', async () => {
    const { client } = await stage();
    const file = await upload(client, [chatLine('a', 'm')], 'näme 1.jsonl');
    expect(file).toMatchObject({ object: 'file', purpose: 'batch', status: 'processed', filename: 'näme 1.jsonl' });
    expect(file.expires_at).toBe(file.created_at + 30 * 86_400);
    expect(await (await client.files.content(file.id)).text()).toBe(`${chatLine('a', 'm')}\n`);
    expect((await client.files.list()).data.map(({ id }) => id)).toEqual([file.id]);
    expect(await client.files.delete(file.id)).toMatchObject({ id: file.id, deleted: true });
    await expect(client.files.retrieve(file.id)).rejects.toBeInstanceOf(NotFoundError);
  });

  test.each([
    ['another purpose', { purpose: 'fine-tune' }, 'purpose'],
    ['an age too short', { purpose: 'batch', expires_after: { anchor: 'created_at', seconds: 60 } }, 'expires_after'],
  ] as const)('with %s is refused, and nothing of it is kept', async (_name, asked, param) => {
    const { client } = await stage();
    const file = await toFile(Buffer.from('{}\n'), 'a.jsonl');
    await expect(client.files.create({ file, ...asked })).rejects.toMatchObject({
      status: 400,
      param,
    });
    expect((await client.files.list()).data).toEqual([]);
  });

  test('too large is refused with 413', async () => {
    const { client } = await stage(4, 'file_bytes_max: 100kB'.replace('kB', 'KB'));
    const file = await toFile(Buffer.alloc(200_000, 'x'), 'a.jsonl');
    await expect(client.files.create({ file, purpose: 'batch' })).rejects.toMatchObject({
      status: 413,
      code: 'request_too_large',
    });
  });

  test('too many for a key are refused with 507', async () => {
    const { client } = await stage(4, 'files_max: 1');
    await upload(client, ['{}']);
    await expect(upload(client, ['{}'])).rejects.toMatchObject({ status: 507, code: 'insufficient_storage' });
  });

  test('finds no room on a full disk: 507 before anything is taken', async () => {
    const engine = await engineOf();
    const { client } = await openBatchGateway(yaml(engine), '', { free: '900TB' });
    await expect(upload(client, ['{}'])).rejects.toMatchObject({ status: 507, code: 'insufficient_storage' });
  });

  test('that is shorter than it was, or gone, ends the connection and keeps nobody waiting', async () => {
    const { client, data } = await stage();
    const { id } = await upload(
      client,
      Array.from({ length: 50 }, (_, n) => chatLine(`c${n}`, 'm')),
    );
    truncateSync(join(data, 'files', id), 100);
    await expect((async () => await (await client.files.content(id)).text())()).rejects.toThrow();
  });

  test('that a batch still reads is not deleted, nor too old', async () => {
    const { client, engine, batching } = await stage();
    const { database, files } = booksOf(batching);
    engine.always({ kind: 'hold' });
    const batch = await submit(client, [chatLine('a', 'm')]);
    await engine.until(({ held }) => held === 1);
    await expect(client.files.delete(batch.input_file_id)).rejects.toMatchObject({ status: 400 });
    await database.kysely.updateTable('files').set({ expires_at: 1 }).execute();
    expect(await files.expired(Date.now(), 10)).toEqual([]);
    await database.kysely.updateTable('files').set({ expires_at: null }).execute();
    engine.release();
    await ended(client, batch.id);
    await expect(client.files.delete(batch.input_file_id)).resolves.toMatchObject({ deleted: true });
  });

  test('whose time is over is not there, and its bytes go', async () => {
    const first = await stage();
    const { client, batching, data } = first;
    const kept = await upload(client, ['{}']);
    const { id } = await upload(client, ['{}']);
    const { kysely } = booksOf(batching).database;
    await kysely.updateTable('files').set({ expires_at: 1 }).where('id', '=', id).execute();
    await expect(client.files.retrieve(id)).rejects.toMatchObject({ status: 404, code: 'file_not_found' });
    await first.stop();
    // It is looked for at the start, and every minute.
    const second = await openBatchGateway(yaml(first.engine), '', { data });
    await expect.poll(() => readdirSync(join(data, 'files'))).toEqual([kept.id]);
    expect((await second.client.files.list()).data.map((file) => file.id)).toEqual([kept.id]);
  });
});

describe('a faulty input', () => {
  const good = chatLine('good', 'm');
  const asked = { model: 'm', messages: [] };
  test.each([
    ['nothing at all', [], 'empty_file', null],
    ['what is no JSON', [good, '{"custom_id":'], 'invalid_json_line', 2],
    ['an empty line', [good, '', good.replace('good', 'other')], 'invalid_json_line', 2],
    ['the same custom_id twice', [good, good], 'duplicate_custom_id', 2],
    ['another url', [lineOf('a', asked, '/v1/embeddings')], 'url_mismatch', 1],
    ['another method', [lineOf('a', asked).replace('POST', 'GET')], 'invalid_method', 1],
    ['no body', ['{"custom_id":"a","method":"POST","url":"/v1/chat/completions"}'], 'missing_required_parameter', 1],
    ['no model', [lineOf('a', { messages: [] })], 'missing_required_parameter', 1],
    ['an unknown model', [chatLine('a', 'nobody')], 'model_not_found', 1],
    ['a NUL in the custom_id', [chatLine('a\0b', 'm')], 'invalid_value', 1],
    ['half a character in the custom_id', [chatLine('a\uD800', 'm')], 'invalid_value', 1],
    ['a stream', [lineOf('a', { ...asked, stream: true })], 'unsupported_parameter', 1],
    ['more lines than allowed', ['a', 'b', 'c', 'd'].map((id) => chatLine(id, 'm')), 'too_many_tasks', 4],
  ] as const)('with %s fails the batch and says where', async (_name, lines, code, line) => {
    const { client, engine } = await stage(4, 'lines_max: 3');
    const done = await ended(client, (await submit(client, lines.length === 0 ? [] : [...lines])).id);
    expect(done.status).toBe('failed');
    expect(done.errors?.data?.[0]).toMatchObject({ code, line });
    expect([done.output_file_id, done.error_file_id, engine.asked.length]).toEqual([null, null, 0]);
  });

  test.each([
    ['another endpoint', { endpoint: '/v1/responses' }, 'endpoint'],
    ['another window', { completion_window: '1h' }, 'completion_window'],
    ['a file that is not there', { input_file_id: 'file-0' }, 'input_file_id'],
    ['too much metadata', { metadata: { a: 'x'.repeat(513) } }, 'metadata'],
  ] as const)('of a batch, %s, is refused at once', async (_name, wrong, param) => {
    const { client } = await stage();
    const { id } = await upload(client, [good]);
    const body = { input_file_id: id, endpoint: '/v1/chat/completions', completion_window: '24h', ...wrong };
    await expect(client.batches.create(body as OpenAI.BatchCreateParams)).rejects.toMatchObject({ param });
  });
});

describe('of another key', () => {
  test('no file and no batch is there, in any state, on any route', async () => {
    const { client, url, engine } = await stage(1);
    const alice = clientOf(url, ALICE);
    engine.always({ kind: 'hold' });
    const file = await upload(alice, [chatLine('a', 'm'), chatLine('b', 'm')]);
    const batch = await alice.batches.create({
      input_file_id: file.id,
      endpoint: '/v1/chat/completions',
      completion_window: '24h',
    });
    for (const other of [clientOf(url, BOB), client]) await hidden(other, batch.id, [file.id]);
    await engine.until(({ held }) => held === 1);
    for (const other of [clientOf(url, BOB), client]) await hidden(other, batch.id, [file.id]);
    engine.always(undefined);
    engine.release();
    const done = await ended(alice, batch.id);
    expect(done.status).toBe('completed');
    for (const other of [clientOf(url, BOB), client]) {
      await hidden(other, batch.id, [file.id, done.output_file_id ?? '']);
    }
    expect(await fileLines(alice, done.output_file_id)).toHaveLength(2);
    // The master key sees that there are batches, and whose.
    const all = await fetch(`${url}/v1/batches?all=true`, { headers: { authorization: `Bearer ${KEY}` } });
    expect(await all.json()).toMatchObject({ data: [{ id: batch.id, owner: 'alice' }] });
    const bobs = await fetch(`${url}/v1/batches?all=true`, { headers: { authorization: `Bearer ${BOB}` } });
    expect(bobs.status).toBe(403);
  });

  async function hidden(other: OpenAI, batch: string, files: readonly string[]): Promise<void> {
    const looks = [
      () => other.batches.retrieve(batch),
      () => other.batches.cancel(batch),
      ...files.flatMap((id) => [
        () => other.files.retrieve(id),
        () => other.files.content(id),
        () => other.files.delete(id),
        () => other.batches.create({ input_file_id: id, endpoint: '/v1/chat/completions', completion_window: '24h' }),
      ]),
    ];
    for (const look of looks) await expect(look()).rejects.toMatchObject({ status: 404 });
    expect((await other.batches.list()).data).toEqual([]);
    expect((await other.files.list()).data).toEqual([]);
  }

  test('its models are not to be had by a batch', async () => {
    const { url } = await stage();
    const bob = clientOf(url, BOB);
    const done = await ended(bob, (await submit(bob, [chatLine('a', 'n')])).id);
    expect(done.errors?.data?.[0]).toMatchObject({ code: 'model_not_found', line: 1 });
  });
});

test('what PostgreSQL cannot be asked is not there', async () => {
  const postgres = await startPostgres();
  onTestFinished(() => postgres.stop());
  const engine = await engineOf();
  const { ask } = await openBatchGateway(`database: "${postgres.url}"\n${yaml(engine)}`);
  const statuses: number[] = [];
  const paths = ['/files/%00', '/files/%00/content', '/batches/%00', '/files?purpose=%00', '/batches?after=%00'];
  for (const path of paths) statuses.push((await ask(`/v1${path}`)).status);
  expect(statuses).toEqual([404, 404, 404, 200, 200]);
});

/** The file of a batch is read only when the test says so. */
function heldRead(batching: BatchStage['batching']) {
  const { contents } = booksOf(batching);
  const [begun, held] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const whole = contents.read.bind(contents);
  const read = vi.spyOn(contents, 'read').mockImplementation(async function* later(id: string) {
    begun.resolve();
    await held.promise;
    yield* whole(id);
  });
  return { read, began: begun.promise, go_on: held.resolve };
}

function booksOf(batching: BatchStage['batching']): Books {
  if (batching === undefined) throw new Error('no batches');
  return batching.books;
}

test('lists go page by page, newest first, and by status', async () => {
  const { client, ask } = await stage();
  const ids: string[] = [];
  for (let n = 0; n < 5; n += 1) ids.unshift((await submit(client, [chatLine('a', n === 0 ? 'nobody' : 'm')])).id);
  const found: string[] = [];
  for await (const { id } of client.batches.list({ limit: 2 })) found.push(id);
  expect(found).toEqual(ids);
  for (const id of ids) await ended(client, id);
  const failed = await (await ask('/v1/batches?status=failed')).json();
  expect(failed).toMatchObject({ object: 'list', data: [{ id: ids[4] }], has_more: false, first_id: ids[4] });
  expect((await ask('/v1/batches?limit=101')).status).toBe(400);
  expect((await ask('/v1/batches?status=lost')).status).toBe(400);
});

test('the status is told as the original service told it', async () => {
  const { client, ask } = await stage();
  const { id } = await submit(client, [chatLine('a', 'm')]);
  await ended(client, id);
  const told = await ask(`/get-batch-status?batch_id=${id}`);
  expect(told.headers.get('deprecation')).toMatch(/^@\d+$/);
  expect(await told.json()).toEqual({
    batch_id: id,
    status: 'completed',
    request_counts: { total: 1, completed: 1, failed: 0 },
  });
  expect((await ask('/get-batch-status')).status).toBe(400);
  expect((await ask('/get-batch-status?batch_id=batch_0')).status).toBe(404);
  const flat = (await (await ask(`/v1/batches/${id}`)).json()) as { status: string; batch: { status: string } };
  expect(flat.batch.status).toBe(flat.status);
});
