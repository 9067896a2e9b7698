// The official SDKs and batches: files and batches before local engines and before another's Batch API, and chats that wait for a
// batch through silence, cut connections and late failures. Python's steps are in batches.py.
import { fileURLToPath } from 'node:url';
import OpenAI, { APIError, NotFoundError, toFile } from 'openai';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { startBatchApi } from '../engines/batch-api.ts';
import { startEngine, type FakeEngine } from '../engines/engine.ts';
import { chatLine, ended, fileLines, openBatchGateway, submit, type BatchStage } from '../stage/batches.ts';
import { KEY } from '../stage/gateway.ts';
import { freePort } from '../stage/ports.ts';
import { MISSING, startPython, type Python } from '../stage/python.ts';
import { openService } from '../stage/service.ts';
import { openTap, type Tap } from '../stage/tap.ts';
import { openUpstream } from '../stage/upstream.ts';

const SCRIPT = fileURLToPath(new URL('batches.py', import.meta.url));

/** One of the SDKs. All it does is told in the same words. */
interface Sdk {
  round(at: At): Promise<unknown>;
  pages(at: At): Promise<unknown>;
  submit(at: At, ids: readonly string[]): Promise<string>;
  cancel(at: At, id: string): Promise<unknown>;
  ended(at: At, id: string): Promise<unknown>;
}

interface At {
  readonly base: string;
  readonly model: string;
}

/** What serves the lines of a batch. */
interface Scene extends At {
  readonly stage: BatchStage;
  /** Lines that begin from now on do not end. */
  hold(): void;
  /** Resolves when held lines run. */
  readonly running: () => Promise<void>;
  /** Resolves when it knows that they are not wanted any more. */
  readonly stopped: () => Promise<void>;
}

const SCENES: Readonly<Record<string, () => Promise<Scene>>> = {
  'local engines': async () => {
    const engine = await startEngine({ kind: 'vllm', models: ['x'] });
    onTestFinished(() => engine.stop());
    const stage = await openBatchGateway(local(engine));
    return {
      stage,
      base: `${stage.url}/v1`,
      model: 'm',
      hold: () => engine.always({ kind: 'hold' }),
      running: () => engine.until(({ held }) => held > 0),
      stopped: () => engine.until(({ in_flight }) => in_flight === 0),
    };
  },
  'another Batch API': async () => {
    const api = await startBatchApi();
    const stage = await openUpstream(api);
    return {
      stage,
      base: `${stage.url}/v1`,
      model: 'gpt-4o-mini',
      hold: () => api.hold(),
      running: () => api.until(({ polls }) => [...polls.values()].some((one) => one.length > 0)),
      async stopped() {
        await api.until(({ requests }) => requests.cancel === 1);
        api.release();
      },
    };
  },
};

function local(engine: FakeEngine, keep_alive_ms = 15_000): string {
  return `
limits: { ip: off, keep_alive_ms: ${keep_alive_ms} }
backends: { rack: { engine: vllm, url: "${engine.url}", slots: 4 } }
models: { m: [rack/x] }
`;
}

const METADATA = { from: 'the SDK' };

const NODE: Sdk = {
  async round({ base, model }) {
    const client = nodeAt(base);
    const text = ['a', 'b', 'c'].map((id) => `${chatLine(id, model)}\n`).join('');
    const file = await client.files.create({ file: await toFile(Buffer.from(text), 'lines.jsonl'), purpose: 'batch' });
    const made = await client.batches.create({
      input_file_id: file.id,
      endpoint: '/v1/chat/completions',
      completion_window: '24h',
      metadata: METADATA,
    });
    const told = await client.files.retrieve(file.id);
    const listed = (await Array.fromAsync(client.files.list())).map(({ id }) => id);
    const batch = await ended(client, made.id);
    const lines = await fileLines(client, batch.output_file_id);
    const files = [file.id, batch.output_file_id ?? ''];
    const deleted: boolean[] = [];
    for (const id of files) deleted.push((await client.files.delete(id)).deleted);
    const gone: string[] = [];
    for (const id of files) {
      const error: unknown = await client.files.retrieve(id).catch((thrown: unknown) => thrown);
      gone.push(error instanceof NotFoundError ? 'NotFoundError' : String(error));
    }
    return {
      file: [told.object, told.purpose, told.filename, told.bytes === file.bytes],
      listed: listed.includes(file.id),
      made: [made.object, made.endpoint, made.completion_window, made.metadata],
      status: batch.status,
      known: true,
      counts: batch.request_counts,
      used: (batch.usage?.total_tokens ?? 0) > 0,
      answers: Object.fromEntries(lines.map(({ custom_id, response }) => [custom_id, response?.status_code])),
      deleted,
      gone,
    };
  },
  async pages({ base, model }) {
    const client = nodeAt(base);
    const made: string[] = [];
    for (let n = 0; n < 5; n += 1) made.unshift((await submit(client, [chatLine(`page-${n}`, model)])).id);
    for (const id of made) await ended(client, id);
    const all = (await Array.fromAsync(client.batches.list({ limit: 2 }))).map(({ id }) => id);
    const after = (await client.batches.list({ limit: 2, after: made[3] ?? '' })).data.map(({ id }) => id);
    return {
      newest_first: JSON.stringify(all) === JSON.stringify(made),
      first_page: (await client.batches.list({ limit: 2 })).data.length,
      after: JSON.stringify(after) === JSON.stringify(made.slice(4)),
    };
  },
  submit: async ({ base, model }, ids) =>
    (
      await submit(
        nodeAt(base),
        ids.map((id) => chatLine(id, model)),
      )
    ).id,
  cancel: async ({ base }, id) => (await nodeAt(base).batches.cancel(id)).status,
  ended: async ({ base }, id) => (await ended(nodeAt(base), id)).status,
};

function nodeAt(base: string): OpenAI {
  return new OpenAI({ baseURL: base, apiKey: KEY });
}

let python: Python | undefined;
beforeAll(() => {
  if (MISSING === '') python = startPython(SCRIPT);
});
afterAll(() => python?.stop());

async function step(name: string, { base, model }: At, args: Readonly<Record<string, unknown>> = {}): Promise<unknown> {
  return await python?.step(name, { key: KEY, base, model, ...args });
}

const PYTHON: Sdk = {
  round: (at) => step('round', at),
  pages: (at) => step('pages', at),
  submit: async (at, ids) => String(await step('submit', at, { ids })),
  cancel: (at, id) => step('cancel', at, { id }),
  ended: (at, id) => step('ended', at, { id }),
};

const SDKS = [
  { name: 'the Node SDK', sdk: NODE, skipped: false },
  { name: `the Python SDK${MISSING}`, sdk: PYTHON, skipped: MISSING !== '' },
];

describe.for(SDKS)('$name', ({ sdk, skipped }) => {
  describe.skipIf(skipped).for(Object.entries(SCENES))('before %s', ([, open]) => {
    test('uploads, submits, waits, reads and deletes', async () => {
      expect(await sdk.round(await open())).toEqual({
        file: ['file', 'batch', 'lines.jsonl', true],
        listed: true,
        made: ['batch', '/v1/chat/completions', '24h', METADATA],
        status: 'completed',
        known: true,
        counts: { total: 3, completed: 3, failed: 0 },
        used: true,
        answers: { a: 200, b: 200, c: 200 },
        deleted: [true, true],
        gone: ['NotFoundError', 'NotFoundError'],
      });
    });

    test('lists page after page, newest first, and comes to an end', async () => {
      expect(await sdk.pages(await open())).toEqual({ newest_first: true, first_page: 2, after: true });
    });

    test('cancels', async () => {
      const scene = await open();
      scene.hold();
      const id = await sdk.submit(scene, ['a', 'b']);
      await scene.running();
      expect(await sdk.cancel(scene, id)).toBe('cancelling');
      await scene.stopped();
      expect(await sdk.ended(scene, id)).toBe('cancelled');
      const { client } = scene.stage;
      const { error_file_id } = await client.batches.retrieve(id);
      const lines = await fileLines(client, error_file_id);
      expect(lines.map(({ error }) => error?.code)).toEqual(['batch_cancelled', 'batch_cancelled']);
    });
  });
});

describe('a chat that waits for its batch', () => {
  const SYNC = { 'x-lanyard-mode': 'batch-sync' };
  const KEEP_ALIVE_MS = 200;
  /** What a client of Python's waits for a sign of life; by default 600 s. */
  const READ_S = 1;

  interface Waits {
    readonly engine: FakeEngine;
    readonly stage: BatchStage;
    readonly tap: Tap;
    /** Through the tap. */
    readonly at: At;
  }

  async function open(keep_alive_ms = KEEP_ALIVE_MS): Promise<Waits> {
    const engine = await startEngine({ kind: 'vllm', models: ['x'] });
    onTestFinished(() => engine.stop());
    const stage = await openBatchGateway(local(engine, keep_alive_ms), 'collate: { window_ms: 50ms }');
    const tap = await openTap(stage.port);
    return { engine, stage, tap, at: { base: `${tap.url}/v1`, model: 'm' } };
  }

  /** The SDK's option `idempotencyKey` sends nothing. */
  const node = (at: At, more: Readonly<Record<string, string>> = {}): Promise<OpenAI.ChatCompletion> =>
    nodeAt(at.base).chat.completions.create(
      { model: at.model, messages: [{ role: 'user', content: 'Hi' }] },
      { headers: { ...SYNC, ...more } },
    );
  const contentOf = async (answer: Promise<OpenAI.ChatCompletion>): Promise<unknown> => ({
    said: (await answer).choices[0]?.message.content,
  });
  /** Each is a chunk of its own. */
  const spaces = (text: string | undefined): number => (text ?? '').split('1\r\n \r\n').length - 1;

  test.skipIf(MISSING !== '')(
    'is answered though that takes three times what Python waits for a sign of life',
    async () => {
      const { engine, tap, at } = await open();
      engine.next({ kind: 'hold' });
      const answer = step('chat', at, { read: READ_S, max_retries: 0 });
      const most = (3 * READ_S * 1000) / KEEP_ALIVE_MS;
      await tap.until(({ heard }) => spaces(heard[0]) >= most, 15_000);
      engine.release();
      expect(await answer).toEqual({ said: engine.says });
      expect([engine.asked.length, tap.heard.length]).toEqual([1, 1]);
    },
  );

  test.skipIf(MISSING !== '')(
    'and fails after spaces is tried again by Python itself, which is told the true status',
    async () => {
      const { engine, tap, at } = await open(50);
      engine.next({ kind: 'all', faults: [{ kind: 'hold' }, { kind: 'status', status: 400 }] });
      const answer = step('chat', at);
      await tap.until(({ heard }) => spaces(heard[0]) >= 2);
      engine.release();
      expect(await answer).toMatchObject({ class: 'BadRequestError', status: 400, code: expect.any(String) });
      expect([engine.asked.length, tap.heard.length]).toEqual([1, 2]);
    },
  );

  test('and fails after spaces is an error of fetch’s in Node, which is told the true status under the same Idempotency-Key', async () => {
    const { engine, tap, at } = await open(50);
    engine.next({ kind: 'all', faults: [{ kind: 'hold' }, { kind: 'status', status: 400 }] });
    const named = { 'Idempotency-Key': 'one' };
    const cut = node(at, named).catch((error: unknown) => error);
    await tap.until(({ heard }) => spaces(heard[0]) >= 2);
    engine.release();
    // The SDK hands it on as fetch throws it (7.55.0, client.js, parseResponseWithTimeout).
    const error = await cut;
    expect(error).toMatchObject({ name: 'TypeError', message: 'terminated' });
    expect(error).not.toBeInstanceOf(APIError);
    await expect(node(at, named)).rejects.toMatchObject({ status: 400, code: expect.any(String) });
    expect(engine.asked).toHaveLength(1);
  });

  test.for([
    ['Node', false, (at: At) => contentOf(node(at))],
    [`Python${MISSING}`, MISSING !== '', (at: At) => step('chat', at)],
  ] as const)(
    'and whose first connection is killed is the same line when %s asks again',
    async ([, skipped, ask], { skip }) => {
      skip(skipped);
      const { engine, stage, tap, at } = await open(15_000);
      engine.next({ kind: 'hold' });
      const answer = ask(at);
      await engine.until(({ held }) => held === 1);
      tap.cut();
      // The first has gone, and another one is there.
      await expect.poll(() => stage.outcomes(), { timeout: 5000 }).toMatchObject([{ end: 'client_closed' }]);
      await expect.poll(() => stage.metric('lanyard_batch_waiting'), { timeout: 5000 }).toBe(1);
      engine.release();
      expect(await answer).toEqual({ said: engine.says });
      expect([engine.asked.length, tap.heard.length]).toEqual([1, 2]);
    },
  );
});

describe.skipIf(MISSING !== '')(`the Python SDK before the batch service${MISSING}`, () => {
  const EMPTY = { message: 'Say something.', type: 'invalid_request_error', param: null, code: 'empty' };
  test.each([
    ['an unknown model', { model: 'gpt-none' }, { class: 'NotFoundError', status: 404, code: 'model_not_found' }],
    ['a question that is refused', { content: '' }, { class: 'BadRequestError', status: 400, code: 'empty' }],
  ])('raises its own error for %s', async (_what, args, error) => {
    const api = await startBatchApi({
      answer: ({ body }) =>
        JSON.stringify(body['messages']).includes('"content":""') ? { status: 400, body: { error: EMPTY } } : undefined,
    });
    const { url } = await openService(api);
    const asked = await step('chat', { base: `${url}/v1`, model: 'gpt-4o-mini' }, args);
    expect(asked).toMatchObject({ is_api_error: true, ...error });
  });

  test('raises its own error for a batch that is not there, and where nobody listens', async () => {
    const { url } = await openService(await startBatchApi());
    const none = await step('retrieve', { base: `${url}/v1`, model: '' }, { id: 'batch_0' });
    expect(none).toMatchObject({ class: 'NotFoundError', is_api_error: true, code: 'batch_not_found' });
    const nobody = { base: `http://127.0.0.1:${await freePort()}/v1`, model: '' };
    const away = await step('retrieve', nobody, { id: 'batch_0', max_retries: 0 });
    expect(away).toMatchObject({ class: 'APIConnectionError', is_api_error: true });
  });
});

test('both SDKs raise their own error within seconds where the service is away', async () => {
  const { url } = await openService({ url: `http://127.0.0.1:${await freePort()}` });
  const at = { base: `${url}/v1`, model: 'gpt-4o-mini' };
  const client = new OpenAI({ baseURL: at.base, apiKey: KEY, maxRetries: 0 });
  const messages = [{ role: 'user' as const, content: 'from Node' }];
  const [node, python] = await Promise.all([
    client.chat.completions.create({ model: at.model, messages }).catch((error: unknown) => error),
    step('chat', at, { max_retries: 0 }),
  ]);
  const error = { status: 502, code: 'upstream_unreachable' };
  expect(node).toBeInstanceOf(APIError);
  expect(node).toMatchObject(error);
  if (MISSING === '') expect(python).toMatchObject({ class: 'InternalServerError', is_api_error: true, ...error });
});
