// Single requests collected into batches on our own engines: who waits is answered, who does not is told the batch.
import type { Batch } from 'openai/resources/batches';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { digest } from '../../src/config/keys.ts';
import { startEngine, type FakeEngine } from '../engines/engine.ts';
import { clientOf, dataFolder, ended, fileLines, openBatchGateway, type BatchStage } from '../stage/batches.ts';
import { call } from '../stage/caller.ts';
import { openGateway } from '../stage/gateway.ts';

const ALICE = 'sk-alice-of-the-stage-0123456789abcdef';
const CHAT = '/v1/chat/completions';
const SYNC = { 'x-lanyard-mode': 'batch-sync' };
const ASYNC = { 'x-lanyard-mode': 'batch-async' };
/** As official SDKs say that it is another try. */
const AGAIN = { 'x-stainless-retry-count': '1' };

const chat = (content: string, more: object = {}): object => ({
  model: 'm',
  messages: [{ role: 'user', content }],
  ...more,
});

const yaml = (engine: FakeEngine, keep_alive_ms = 15_000): string => `
limits: { ip: off, keep_alive_ms: ${keep_alive_ms} }
backends:
  rack: { engine: vllm, url: "${engine.url}", slots: 4 }
models:
  m: [rack/x]
`;

interface Scene extends BatchStage {
  readonly engine: FakeEngine;
}

async function stage(keep_alive_ms?: number, data?: string): Promise<Scene> {
  const engine = await startEngine({ kind: 'vllm', models: ['x'] });
  onTestFinished(() => engine.stop());
  const options = data === undefined ? {} : { data };
  const gateway = await openBatchGateway(yaml(engine, keep_alive_ms), 'collate: { window_ms: 100ms }', options);
  return Object.assign(gateway, { engine });
}

const asked = (engine: FakeEngine, text: string): number =>
  engine.asked.filter(({ body }) => body.toString().includes(text)).length;

describe('who waits', () => {
  test('has its own answer, and is told the batch', async () => {
    const { ask, engine } = await stage();
    const answer = await ask(CHAT, chat('Hi'), { headers: SYNC });
    expect([answer.status, answer.headers.get('x-lanyard-batch')]).toEqual([200, expect.stringMatching(/^batch_/)]);
    expect(await answer.json()).toMatchObject({
      object: 'chat.completion',
      choices: [{ message: { content: engine.says } }],
    });
  });

  test('is one of two hundred, and each has its own', async () => {
    const { ask, engine } = await stage();
    const answers = await Promise.all(
      Array.from({ length: 200 }, (_, n) => ask(CHAT, chat(`n-${n}`), { headers: SYNC })),
    );
    const ids = await Promise.all(answers.map(async (answer) => ((await answer.json()) as { id: string }).id));
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]));
    expect(new Set(ids).size).toBe(200);
    expect(engine.asked).toHaveLength(200);
  });

  test('is told the status of its own line, and nobody else is', async () => {
    const { ask, engine } = await stage();
    engine.next({ kind: 'error', what: 'bad_request' });
    const answers = await Promise.all(['a', 'b', 'c'].map((text) => ask(CHAT, chat(text), { headers: SYNC })));
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(2);
    const refused = answers.find(({ status }) => status === 400);
    expect(await refused?.json()).toMatchObject({ error: { type: 'invalid_request_error', code: expect.any(String) } });
    // Nothing is left of it: the same request is asked anew.
    for (const text of ['a', 'b', 'c']) expect((await ask(CHAT, chat(text), { headers: SYNC })).status).toBe(200);
  });

  test('hears spaces after a while, and the answer is still JSON', async () => {
    const { port, engine } = await stage(50);
    engine.next({ kind: 'hold' });
    const caller = await call(port, CHAT, chat('Hi'), { headers: SYNC });
    const { status, headers } = await caller.head;
    expect([status, headers['content-type']]).toEqual([200, 'application/json']);
    await caller.until('  ');
    engine.release();
    expect(JSON.parse(await caller.whole())).toMatchObject({ object: 'chat.completion' });
  });

  test('is cut off when it fails after spaces, and its next try is told the true status, once', async () => {
    const { port, engine, ask } = await stage(50);
    engine.next({ kind: 'all', faults: [{ kind: 'hold' }, { kind: 'status', status: 400 }] });
    const caller = await call(port, CHAT, chat('Hi'), { headers: SYNC });
    await caller.until(' ');
    engine.release();
    expect(await caller.ended).toBe('cut');
    const next = await ask(CHAT, chat('Hi'), { headers: { ...SYNC, ...AGAIN } });
    expect(next.status).toBe(400);
    await next.text();
    expect(engine.asked).toHaveLength(1);
    const last = await ask(CHAT, chat('Hi'), { headers: { ...SYNC, ...AGAIN } });
    expect(last.status).toBe(200);
  });

  test('may lose its connection: its next try joins the line of the first', async () => {
    const { port, engine, ask } = await stage();
    engine.next({ kind: 'hold' });
    const caller = await call(port, CHAT, chat('Hi'), { headers: SYNC });
    await engine.until(({ held }) => held === 1);
    caller.leave('reset');
    const next = ask(CHAT, chat('Hi'), { headers: { ...SYNC, ...AGAIN } });
    await expect
      .poll(async () => await (await fetch(`http://127.0.0.1:${port}/metrics`)).text())
      .toMatch(/lanyard_batch_waiting 1/);
    engine.release();
    expect((await next).status).toBe(200);
    await (await next).text();
    expect(engine.asked).toHaveLength(1);
  });

  test('is told of its own latest line, where it asked the same before', async () => {
    const { ask, engine, batching } = await stage();
    if (batching === undefined) throw new Error('no batches');
    // As if none of them had heard.
    const untold = vi.spyOn(batching.books.items, 'told').mockResolvedValue();
    engine.always({ kind: 'error', what: 'bad_request' });
    // The first window's has the higher number.
    for (const text of ['other', 'same']) void ask(CHAT, chat(text), { headers: SYNC }).then((answer) => answer.text());
    await expect.poll(() => untold.mock.calls.length).toBe(2);
    const closed = async (): Promise<boolean> => {
      const { rows } = await batching.books.batches.list(undefined, { limit: 5, after: undefined }, undefined);
      return rows.length > 0 && rows.every(({ open }) => open === 0);
    };
    await expect.poll(closed).toBe(true);
    engine.always(undefined);
    await (await ask(CHAT, chat('same'), { headers: SYNC })).text();
    expect((await ask(CHAT, chat('same'), { headers: { ...SYNC, ...AGAIN } })).status).toBe(200);
  });

  test('with a stream is told the status of its line as well', async () => {
    const { ask, engine } = await stage();
    engine.always({ kind: 'error', what: 'overflow' });
    const told = async (stream: boolean): Promise<unknown> => {
      const answer = await ask(CHAT, chat('Hi', { stream }), { headers: SYNC });
      return [answer.status, await answer.json()];
    };
    const plain = await told(false);
    expect(await told(true)).toEqual(plain);
    expect(plain).toEqual([400, { error: expect.objectContaining({ code: 'context_length_exceeded' }) }]);
  });

  test('may ask for a stream', async () => {
    const { url, engine } = await stage();
    const stream = await clientOf(url).chat.completions.create(
      { model: 'm', messages: [{ role: 'user', content: 'Hi' }], stream: true },
      { headers: SYNC },
    );
    let text = '';
    for await (const event of stream) text += event.choices[0]?.delta.content ?? '';
    expect(text).toBe(engine.says);
  });

  test('gives way: whoever asks directly comes first', async () => {
    const { ask, engine } = await stage();
    engine.always({ kind: 'hold' });
    const waiting = ['a', 'b', 'c', 'd'].map((text) => ask(CHAT, chat(text), { headers: SYNC }));
    await engine.until(({ held }) => held === 4);
    const direct = ask(CHAT, chat('direct'));
    await expect.poll(() => asked(engine, 'direct')).toBe(1);
    engine.always(undefined);
    engine.release();
    for (const answer of [...waiting, direct]) {
      expect((await answer).status).toBe(200);
      await (await answer).text();
    }
  });
});

describe('who does not wait', () => {
  test('is told a batch that is there at once, and the answer when it has ended', async () => {
    const { ask, client } = await stage();
    const answer = await ask(CHAT, chat('Hi'), { headers: ASYNC });
    expect(answer.status).toBe(202);
    const told = (await answer.json()) as Record<string, string>;
    expect(told).toMatchObject({ object: 'batch', id: expect.stringMatching(/^batch_/), status: 'in_progress' });
    expect(answer.headers.get('location')).toBe(`/v1/batches/${told['id']}`);
    const batch = (await client.batches.retrieve(told['id'] ?? '')) as Batch & { collation: object };
    expect(batch.collation).toEqual({ window_ms: 100, closes_at: expect.any(Number), open: true });
    const done = await ended(client, batch.id);
    expect(done).toMatchObject({ status: 'completed', request_counts: { total: 1, completed: 1 } });
    const [line] = await fileLines(client, done.output_file_id);
    expect(line).toMatchObject({ custom_id: told['custom_id'], response: { status_code: 200 } });
  });

  test('shares the batch of its window, and the report tells', async () => {
    const { ask, client } = await stage();
    const answers = await Promise.all(['a', 'b', 'c'].map((text) => ask(CHAT, chat(text), { headers: ASYNC })));
    const ids = await Promise.all(answers.map(async (answer) => ((await answer.json()) as { id: string }).id));
    expect(new Set(ids).size).toBe(1);
    expect((await ended(client, ids[0] ?? '')).request_counts).toMatchObject({ total: 3, completed: 3 });
    const report = await (await ask('/get-batch-report')).json();
    expect(report).toMatchObject({ batches: 1, collected: { requests: 3, windows: 1 }, upstream: { calls_saved: 0 } });
  });

  test('asks twice under one Idempotency-Key, and is told the same; something else is refused', async () => {
    const { ask, engine } = await stage();
    const under = { headers: { ...ASYNC, 'idempotency-key': 'one' } };
    const told = async (): Promise<unknown> => {
      const { id, custom_id } = (await (await ask(CHAT, chat('Hi'), under)).json()) as Record<string, string>;
      return { id, custom_id };
    };
    // Two of them at once.
    const [one, two] = await Promise.all([told(), told()]);
    expect(two).toEqual(one);
    expect(await told()).toEqual(one);
    const other = await ask(CHAT, chat('Something else'), under);
    expect([other.status, await other.json()]).toEqual([
      409,
      { error: expect.objectContaining({ code: 'idempotency_conflict' }) },
    ]);
    await engine.until(({ asked: all }) => all.length === 1);
  });

  test('cannot have a stream', async () => {
    const { ask } = await stage();
    const answer = await ask(CHAT, chat('Hi', { stream: true }), { headers: ASYNC });
    expect([answer.status, await answer.json()]).toEqual([400, expect.objectContaining({})]);
  });

  test('finds its answer after a restart in the middle of the window', async () => {
    const data = dataFolder();
    const first = await stage(15_000, data);
    first.engine.always({ kind: 'hold' });
    const { id } = (await (await first.ask(CHAT, chat('Hi'), { headers: ASYNC })).json()) as { id: string };
    await first.stop();
    const { client } = await stage(15_000, data);
    const done = await ended(client, id);
    expect(done).toMatchObject({ status: 'completed', request_counts: { total: 1, completed: 1 } });
  });
});

describe('the mode', () => {
  test.each([
    ['batch-sync', 'no batches'],
    ['batch-async', 'no batches'],
    ['cache', 'no cache'],
    ['later', 'must be one of'],
  ])('%s is refused where it is not configured', async (mode, why) => {
    const engine = await startEngine({ kind: 'vllm', models: ['x'] });
    onTestFinished(() => engine.stop());
    const { ask } = await openGateway(yaml(engine));
    const answer = await ask(CHAT, chat('Hi'), { headers: { 'x-lanyard-mode': mode } });
    expect(answer.status).toBe(400);
    expect(await answer.text()).toContain(why);
    expect((await ask(CHAT, chat('Hi'), { headers: { 'x-lanyard-mode': 'direct' } })).status).toBe(200);
  });

  test('of the request goes before that of the model, and that before the listener’s', async () => {
    const engine = await startEngine({ kind: 'vllm', models: ['x'] });
    onTestFinished(() => engine.stop());
    const { ask } = await openBatchGateway(
      `
backends: { rack: { engine: vllm, url: "${engine.url}" } }
models:
  m: [rack/x]
  now: { serve: [rack/x], mode: direct }
`,
      '',
      { listen: '[{ port: 0, mode: async }]' },
    );
    const status = async (model: string, headers = {}): Promise<number> =>
      (await ask(CHAT, { ...chat('Hi'), model }, { headers })).status;
    expect([await status('m'), await status('now'), await status('now', ASYNC)]).toEqual([202, 200, 202]);
    expect(await status('m', { 'x-lanyard-mode': 'direct' })).toBe(200);
  });
});

describe('the cache', () => {
  async function cached(more = '', models = 'm, e'): Promise<Scene> {
    const engine = await startEngine({ kind: 'vllm', models: ['x', { name: 'e', embeds: true }] });
    onTestFinished(() => engine.stop());
    const keys = `auth: { keys: [{ name: alice, hash: "sha256:${digest(ALICE).toString('hex')}", models: [${models}] }] }`;
    const text = `${yaml(engine)}  e: [rack/e]\ncache: { ${more} }\n${keys}\n`;
    return Object.assign(await openBatchGateway(text, 'collate: { window_ms: 100ms }'), { engine });
  }

  test.each([
    ['a chat with temperature 0', CHAT, chat('Hi', { temperature: 0 })],
    ['embeddings', '/v1/embeddings', { model: 'e', input: 'Hi' }],
  ])('gives %s again, byte for byte', async (_name, path, body) => {
    const { ask, engine, metric } = await cached();
    const one = await ask(path, body);
    const two = await ask(path, body);
    expect([one.headers.get('x-cache'), two.headers.get('x-cache')]).toEqual(['miss', 'hit']);
    expect(await two.text()).toBe(await one.text());
    expect(engine.asked).toHaveLength(1);
    expect(await metric('lanyard_cache_requests_total', { result: 'hit' })).toBe(1);
  });

  test('asks what is not deterministic anew, unless told to keep it', async () => {
    const { ask, engine } = await cached();
    for (let n = 0; n < 2; n += 1) expect((await ask(CHAT, chat('Hi'))).headers.get('x-cache')).toBeNull();
    const on = { headers: { 'x-lanyard-cache': 'on' } };
    for (const said of ['miss', 'hit']) expect((await ask(CHAT, chat('Hi'), on)).headers.get('x-cache')).toBe(said);
    expect(engine.asked).toHaveLength(3);
  });

  test.each([
    ['no-cache', ['miss', null, 'hit'], 2],
    ['no-store', ['miss', null, 'hit'], 2],
  ] as const)('obeys cache-control: %s', async (said, told, count) => {
    const { ask, engine } = await cached();
    const body = chat('Hi', { temperature: 0 });
    const headers = [{}, { 'cache-control': said }, {}];
    const had: (string | null)[] = [];
    for (const one of headers) had.push((await ask(CHAT, body, { headers: one })).headers.get('x-cache'));
    expect(had).toEqual(told);
    expect(engine.asked).toHaveLength(count);
  });

  test('keeps what a batch has answered, and mode cache tells it and asks nothing', async () => {
    const { ask, engine } = await cached('chat: all');
    await (await ask(CHAT, chat('Hi'), { headers: SYNC })).text();
    const only = { headers: { 'x-lanyard-mode': 'cache' } };
    await expect.poll(async () => (await ask(CHAT, chat('Hi'), only)).status).toBe(200);
    const hit = await ask(CHAT, chat('Hi'), only);
    expect(await hit.json()).toMatchObject({ object: 'chat.completion' });
    const miss = await ask(CHAT, chat('Never'), only);
    expect([miss.status, await miss.json()]).toEqual([
      404,
      { error: expect.objectContaining({ code: 'not_in_cache' }) },
    ]);
    expect(engine.asked).toHaveLength(1);
  });

  test('that is shared tells no key what it may not ask', async () => {
    const { ask, url } = await cached('shared: true', 'other');
    const body = chat('Hi', { temperature: 0 });
    expect((await ask(CHAT, body)).status).toBe(200);
    const headers = { authorization: `Bearer ${ALICE}`, 'content-type': 'application/json' };
    for (const mode of ['direct', 'cache']) {
      const init = { method: 'POST', headers: { ...headers, 'x-lanyard-mode': mode }, body: JSON.stringify(body) };
      const other = await fetch(`${url}${CHAT}`, init);
      expect([other.status, await other.json()]).toEqual([
        404,
        { error: expect.objectContaining({ code: 'model_not_found' }) },
      ]);
    }
  });

  test('is each key’s own', async () => {
    const { ask, engine, url } = await cached();
    const body = chat('Hi', { temperature: 0 });
    await (await ask(CHAT, body)).text();
    const other = await fetch(`${url}${CHAT}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${ALICE}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    expect([other.status, other.headers.get('x-cache')]).toEqual([200, 'miss']);
    expect(engine.asked).toHaveLength(2);
  });
});
