// The batch service as it is shipped, config/examples/batch.yaml, before a strict fake of OpenAI's Files and Batch API: what its
// two documents promise, from the variables it reads to a kill in the middle of a window.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { APIError, type OpenAI } from 'openai';
import { describe, expect, test } from 'vitest';
import { parseConfig } from '../../src/config/load.ts';
import { startBatchApi, type BatchApi, type Route, type Verdict } from '../engines/batch-api.ts';
import { chatLine, clientOf, dataFolder, ended, fileLines, upload } from '../stage/batches.ts';
import { runLanyard, startLanyard } from '../stage/lanyard.ts';
import { faultsOf } from '../stage/openai-shapes.ts';
import { freePort } from '../stage/ports.ts';
import {
  chat,
  CHAT,
  contentOf,
  DUMMY,
  EXAMPLE,
  openService,
  serviceEnv,
  serviceYaml,
  UPSTREAM_KEY,
} from '../stage/service.ts';
import { told } from '../stage/upstream.ts';

const numbers = (count: number): string[] => Array.from({ length: count }, (_, n) => `marker-${n}`);
const counted = (api: BatchApi): object => ({
  uploads: api.uploads.length,
  batches: api.batches.length,
  lines: api.uploads.reduce((sum, { line_count }) => sum + line_count, 0),
});
const ASYNC = { CLIENT_SERVING_MODE: 'async' };
/** Long enough for whoever asks at the same time, on a machine that has much to do. */
const WIDE = { COLLATE_BATCHES_FOR_DURATION_IN_MS: '400' };

interface Failure {
  readonly error: { readonly code: string; readonly message: string };
}

describe('the environment', () => {
  const load = (env: Record<string, string> = {}): ReturnType<typeof parseConfig> =>
    parseConfig(EXAMPLE, 'config/examples/batch.yaml', { OPENAI_API_KEY: UPSTREAM_KEY, ...env });

  test('means a service at port 8080 of this machine that waits 5 seconds, then up to 300, unless it says otherwise', () => {
    const { listen, batch } = load();
    expect(listen).toMatchObject([{ port: 8080, host: '127.0.0.1', auth: 'open', mode: 'batch-sync' }]);
    expect([batch?.collate.window_ms, batch?.upstream.poll_min_ms, batch?.upstream.poll_max_ms]).toEqual([
      5000, 5000, 300_000,
    ]);
  });

  test('without OPENAI_API_KEY refuses to start, and names it', () => {
    expect(() => parseConfig(EXAMPLE, 'x.yaml', {})).toThrow('OPENAI_API_KEY');
  });

  test.each([
    ['COLLATE_BATCHES_FOR_DURATION_IN_MS', ['0', '-1', 'abc', '1.5'], /:\d+:\d+ batch\.collate\.window_ms must be /],
    ['CLIENT_SERVING_MODE', ['later', 'Sync'], /:\d+:\d+ listen\[0\]\.mode must be .*sync.*async.*cache/],
    [
      'COLLECT_BATCH_STATS_POLLING_MAX_INTERVAL_SECONDS',
      ['0', '-1', 'abc'],
      /:\d+:\d+ batch\.upstream\.poll_max_ms must be /,
    ],
  ])('refuses a %s that makes no sense (%j), and says where it is read', (name, values, why) => {
    for (const value of values) expect(() => load({ [name]: value })).toThrow(why);
  });

  test.each([
    ['sync', 'batch-sync'],
    ['async', 'batch-async'],
    ['cache', 'cache'],
  ])('takes the mode %s', (value, mode) => {
    expect(load({ CLIENT_SERVING_MODE: value }).listen[0]?.mode).toBe(mode);
  });

  test('takes a window in milliseconds and a longest pause in seconds', () => {
    const { batch } = load({
      COLLATE_BATCHES_FOR_DURATION_IN_MS: '1000',
      COLLECT_BATCH_STATS_POLLING_MAX_INTERVAL_SECONDS: '60',
    });
    expect([batch?.collate.window_ms, batch?.upstream.poll_max_ms]).toEqual([1000, 60_000]);
  });

  test('takes a longest pause that is shorter than the usual first one', () => {
    expect(load({ COLLECT_BATCH_STATS_POLLING_MAX_INTERVAL_SECONDS: '2' }).batch?.upstream.poll_max_ms).toBe(2000);
  });

  test('with more than one fault ends the program once, which tells them all', async () => {
    const { exit, stderr } = runLanyard({
      yaml: EXAMPLE,
      env: { COLLATE_BATCHES_FOR_DURATION_IN_MS: '-1' },
    });
    expect(await exit).toBe(1);
    expect(stderr()).toMatch(/batch\.collate\.window_ms must be /);
    expect(stderr()).toContain('OPENAI_API_KEY');
  });
});

describe('curl, as the documents have it,', () => {
  const run = async (command: string, url: string): Promise<string> => {
    const here = command.replaceAll('http://localhost:8080', url);
    return (await promisify(execFile)('sh', ['-c', here])).stdout;
  };

  test('chats without a key, and looks at health, at a batch and at all of them', async () => {
    const api = await startBatchApi();
    const { url } = await openService(api);
    const said = await run(
      `curl http://localhost:8080/v1/chat/completions \\
  -H "Content-Type: application/json" \\
  -d '{
    "model": "gpt-3.5-turbo",
    "messages": [{"role": "user", "content": "Hello!"}]
  }'`,
      url,
    );
    expect(JSON.parse(said)).toMatchObject({
      object: 'chat.completion',
      choices: [{ message: { content: 'echo: Hello!' } }],
    });
    const status = "curl -s -o /dev/null -w '%{http_code}' http://localhost:8080/health";
    expect(await run(status, url)).toBe('200');
    const none = JSON.parse(await run('curl http://localhost:8080/v1/batches/batch_123', url)) as Failure;
    expect(none.error.code).toBe('batch_not_found');
    const all = JSON.parse(await run('curl http://localhost:8080/v1/batches', url)) as OpenAI.BatchesPage;
    expect(all.data).toMatchObject([{ object: 'batch' }]);
    const one = JSON.parse(await run(`curl http://localhost:8080/v1/batches/${all.data[0]?.id}`, url)) as OpenAI.Batch;
    expect(one.id).toBe(all.data[0]?.id);
    const old = await run(`curl "http://localhost:8080/get-batch-status?batch_id=${one.id}"`, url);
    expect(JSON.parse(old)).toMatchObject({ batch_id: one.id, request_counts: { total: 1, completed: 1, failed: 0 } });
  });
});

describe('requests of one window', () => {
  test('are one upload and one batch of thirty lines', async () => {
    const api = await startBatchApi();
    const { post } = await openService(api, { env: WIDE });
    const answers = await Promise.all(numbers(30).map((marker) => post(chat(marker))));
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]));
    const contents = await Promise.all(answers.map(async (answer) => contentOf(await answer.json())));
    expect(contents).toEqual(numbers(30).map((marker) => `echo: ${marker}`));
    expect(counted(api)).toEqual({ uploads: 1, batches: 1, lines: 30 });
  });

  test('for two models are two batches, and all are answered', async () => {
    const api = await startBatchApi();
    const { post } = await openService(api, { env: WIDE });
    const models = ['gpt-3.5-turbo', 'gpt-4o-mini'];
    const answers = await Promise.all(
      numbers(10).map(async (marker, n) => {
        const answer = await post(chat(marker, { model: models[n % 2] }));
        return (await answer.json()) as OpenAI.ChatCompletion;
      }),
    );
    for (const [n, answer] of answers.entries()) {
      expect([answer.model, contentOf(answer)]).toEqual([models[n % 2], `echo: marker-${n}`]);
    }
    expect(counted(api)).toEqual({ uploads: 2, batches: 2, lines: 10 });
    expect(new Set(api.batches.map(({ model }) => model))).toEqual(new Set(models));
  });

  test('of two hundred clients come back in another order, and each has its own', async () => {
    const api = await startBatchApi({ seed: 10 });
    const { post } = await openService(api, { env: WIDE });
    const contents = await Promise.all(
      numbers(200).map(async (marker) => contentOf(await (await post(chat(marker))).json())),
    );
    expect(contents).toEqual(numbers(200).map((marker) => `echo: ${marker}`));
    expect(api.directs).toEqual([]);
  });

  test('of which one is refused there: its client has the status and the error of the service, the others their answers', async () => {
    const error = { message: 'Too hot.', type: 'invalid_request_error', param: 'temperature', code: 'too_hot' };
    const api = await startBatchApi({
      answer: ({ body }) => (body['temperature'] === 3 ? { status: 400, body: { error } } : undefined),
    });
    const { post } = await openService(api, { env: WIDE });
    const answers = await Promise.all(
      numbers(10).map((marker, n) => post(chat(marker, n === 4 ? { temperature: 3 } : {}))),
    );
    for (const [n, answer] of answers.entries()) {
      const body = await answer.json();
      if (n === 4) expect([answer.status, body]).toEqual([400, { error }]);
      else expect([answer.status, contentOf(body)]).toEqual([200, `echo: marker-${n}`]);
    }
    expect(counted(api)).toEqual({ uploads: 1, batches: 1, lines: 10 });
  });

  test('arrive there as they were sent', async () => {
    const api = await startBatchApi();
    const { post } = await openService(api, { env: WIDE });
    const head = '{"model":"gpt-3.5-turbo", "messages":[{"role":"user","content":"caf\\u00e9 ✓"}],';
    const bodies = [
      `${head}"temperature":0,"top_p":0,"n":1,"presence_penalty":0,"stop":"###"}`,
      `${head}"stop":["\\n\\n","###"],"seed":12345678901234567890}`,
      `${head}"x_foo":{"a":[1.50,1e3,null]}, "reasoning_effort" : "low"}`,
    ];
    for (const answer of await Promise.all(bodies.map((body) => post(body)))) expect(answer.status).toBe(200);
    const arrived = api.lines(api.uploads[0]?.id ?? '').map((line) => /"body":(.*)\}$/.exec(line)?.[1]);
    expect(new Set(arrived)).toEqual(new Set(bodies));
  });
});

describe('a stream', () => {
  test('is told as one when the batch has ended, and is not to be had in mode async', async () => {
    const { post } = await openService(await startBatchApi());
    const answer = await post(chat('Hello!', { stream: true }));
    expect([answer.status, answer.headers.get('content-type')]).toEqual([200, 'text/event-stream; charset=utf-8']);
    const text = await answer.text();
    expect(text).toContain('echo: Hello!');
    expect(text).toMatch(/^(?:data: \{.*\}\n\n)+data: \[DONE\]\n\n$/);
    const refused = await post(chat('Hello!', { stream: true }), { 'x-lanyard-mode': 'batch-async' });
    const body = (await refused.json()) as Failure;
    expect([refused.status, body.error.code]).toEqual([400, 'unsupported_parameter']);
  });
});

describe('a verdict that is bad:', () => {
  /** Told at the first look. */
  const steps = { validating: 0, in_progress: 0, finalizing: 0, cancelling: 0 };
  const fault = (message: string, line: number | null) => ({ code: 'bad', message, param: null, line });
  const refused = { status: 400, body: { error: { message: 'No.', type: 'x', param: null, code: 'no' } } };
  interface Row {
    readonly what: string;
    readonly verdict?: Verdict;
    readonly route?: Route;
    readonly status: number;
    readonly code: string;
  }
  test.each<Row>([
    { what: 'completed, without files', verdict: 'completed_without_files', status: 502, code: 'upstream_invalid' },
    { what: 'completed, with files of no name', verdict: { ids: '' }, status: 502, code: 'upstream_invalid' },
    {
      what: 'failed, as a whole',
      verdict: { failed: [fault('No money.', null)] },
      status: 502,
      code: 'upstream_error',
    },
    { what: 'failed, and says nothing', verdict: { failed: [] }, status: 502, code: 'upstream_error' },
    {
      what: 'failed, for each of its lines',
      verdict: { failed: [fault('A.', 1), fault('B.', 2), fault('C.', 3)] },
      status: 400,
      code: 'bad',
    },
    { what: 'an upload that is refused', route: 'upload', status: 502, code: 'upstream_error' },
    { what: 'a creation that is refused', route: 'create', status: 502, code: 'upstream_error' },
  ])('$what: each client is told an error of its own, and the same request is then answered', async (row) => {
    const api = await startBatchApi({ steps });
    if (row.route !== undefined) api.next(row.route, refused);
    if (row.verdict !== undefined) api.verdict(row.verdict);
    const { post } = await openService(api, { env: WIDE });
    for (const answer of await Promise.all(numbers(3).map((marker) => post(chat(marker))))) {
      const body = (await answer.json()) as Failure;
      expect([answer.status, body.error.code, faultsOf('error', body)]).toEqual([row.status, row.code, []]);
    }
    const next = await Promise.all(numbers(3).map((marker) => post(chat(marker))));
    for (const [n, answer] of next.entries()) {
      expect([answer.status, contentOf(await answer.json())]).toEqual([200, `echo: marker-${n}`]);
    }
  });

  test.each([
    { what: 'expired', verdict: { expired: 2 }, status: 504, code: 'batch_expired' },
    { what: 'cancelled', verdict: { cancelled: 2 }, status: 409, code: 'batch_cancelled' },
  ])('$what: what was done is delivered, and the others are told why', async ({ verdict, status, code }) => {
    const api = await startBatchApi({ steps });
    api.verdict(verdict);
    const { post } = await openService(api, { env: WIDE });
    const answers = await Promise.all(numbers(5).map((marker) => post(chat(marker))));
    let done = 0;
    for (const [n, answer] of answers.entries()) {
      const body = await answer.json();
      if (answer.status === 200) {
        done += 1;
        expect(contentOf(body)).toBe(`echo: marker-${n}`);
      } else expect([answer.status, body]).toEqual([status, { error: expect.objectContaining({ code }) }]);
    }
    expect(done).toBe(2);
  });
});

describe('a key', () => {
  test('of a client goes nowhere, and the service’s own goes there and stands in no log', async () => {
    const api = await startBatchApi();
    const service = await openService(api, { env: { LOG_LEVEL: 'DEBUG' } });
    const answer = await service.client.chat.completions.create({
      model: 'gpt-3.5-turbo',
      messages: [{ role: 'user', content: 'Hello!' }],
    });
    expect(contentOf(answer)).toBe('echo: Hello!');
    expect([...api.authorizations]).toEqual([`Bearer ${UPSTREAM_KEY}`]);
    await expect.poll(() => service.outcomes()).toHaveLength(1);
    expect(service.logged()).not.toContain(UPSTREAM_KEY);
    expect(service.logged()).not.toContain(DUMMY);
  });

  test.each(['sync', 'async'])(
    'that is refused there is 502 upstream_auth in mode %s, and told in the log',
    async (mode) => {
      const api = await startBatchApi();
      const key = 'sk-wrong-0123456789';
      const service = await openService(api, { env: { OPENAI_API_KEY: key, CLIENT_SERVING_MODE: mode } });
      const { post, fleet } = service;
      // Its list of models is refused as well; a batch is taken nevertheless.
      await expect.poll(() => fleet.backends.get('openai')?.health).toBe('down');
      const answer = await post(chat('Hello!'));
      if (mode === 'sync') {
        const body = (await answer.json()) as Failure;
        expect([answer.status, body.error.code]).toEqual([502, 'upstream_auth']);
      } else {
        expect(answer.status).toBe(202);
        const done = await ended(service.client, ((await answer.json()) as OpenAI.Batch).id);
        expect(done).toMatchObject({ status: 'completed', request_counts: { total: 1, completed: 0, failed: 1 } });
        const [line] = await fileLines(service.client, done.error_file_id);
        expect(line?.response).toMatchObject({ status_code: 502, body: { error: { code: 'upstream_auth' } } });
      }
      expect(service.logged()).toMatch(/"level":"error".*"backend":"openai".*`key`/);
      expect(service.logged()).not.toContain(key);
    },
  );
});

describe('in mode async', () => {
  test('the answer is a batch that is there at once, goes on, and brings what was asked', async () => {
    const api = await startBatchApi();
    api.hold();
    const { post, client, url } = await openService(api, { env: { ...ASYNC, ...WIDE } });
    const answers = await Promise.all(numbers(3).map((marker) => post(chat(marker))));
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([202]));
    const taken = (await Promise.all(answers.map((answer) => answer.json()))) as { id: string; custom_id: string }[];
    const { id = '' } = taken[0] ?? {};
    expect(new Set(taken.map((one) => one.id))).toEqual(new Set([id]));
    expect(id).toMatch(/^batch_/);
    const first = await client.batches.retrieve(id);
    expect(first).toMatchObject({ id, status: 'validating', collation: { window_ms: 400, open: true } });
    await api.until(({ batches }) => batches.length === 1);
    expect(await client.batches.retrieve(id)).toMatchObject({ status: 'in_progress', collation: { open: false } });
    api.release();
    const done = await ended(client, id);
    expect(done).toMatchObject({ status: 'completed', request_counts: { total: 3, completed: 3, failed: 0 } });
    const times = [done.created_at, done.in_progress_at, done.finalizing_at, done.completed_at].map(Number);
    expect(times).toEqual(times.toSorted((a, b) => a - b));
    const lines = await fileLines(client, done.output_file_id);
    for (const [n, { custom_id }] of taken.entries()) {
      const line = lines.find((one) => one.custom_id === custom_id);
      expect(line === undefined ? undefined : told(line)).toBe(`echo: marker-${n}`);
    }
    // As the page of the original service had it.
    const raw = (await (await fetch(`${url}/v1/batches/${id}`)).json()) as OpenAI.Batch & { batch: OpenAI.Batch };
    expect(raw.batch.status).toBe(raw.status);
    expect(counted(api)).toEqual({ uploads: 1, batches: 1, lines: 3 });
  });

  test('a request is taken though the service is away, and done once it is back', async () => {
    const port = await freePort();
    const { post, client, metric } = await openService({ url: `http://127.0.0.1:${port}` }, { env: ASYNC });
    const answer = await post(chat('Hello!'));
    expect(answer.status).toBe(202);
    const { id } = (await answer.json()) as OpenAI.Batch;
    const tried = { event: 'upload unreachable', backend: 'openai' };
    await expect.poll(() => metric('lanyard_upstream_batches_total', tried), { timeout: 5000 }).toBeGreaterThan(0);
    const api = await startBatchApi({ port });
    const done = await ended(client, id);
    expect(done).toMatchObject({ status: 'completed', request_counts: { total: 1, completed: 1 } });
    expect(counted(api)).toEqual({ uploads: 1, batches: 1, lines: 1 });
  });

  test('what was taken outlives a kill -9 in the middle of the window, and is done once', async () => {
    const api = await startBatchApi();
    const env = { ...serviceEnv(api), ...ASYNC, COLLATE_BATCHES_FOR_DURATION_IN_MS: '1500' };
    const yaml = serviceYaml();
    const first = await startLanyard({ yaml, env });
    const ask = async (marker: string): Promise<{ id: string; custom_id: string }> => {
      const headers = { 'content-type': 'application/json' };
      const body = JSON.stringify(chat(marker));
      const answer = await fetch(`${first.url}${CHAT}`, { method: 'POST', headers, body });
      expect(answer.status).toBe(202);
      return (await answer.json()) as { id: string; custom_id: string };
    };
    const taken = await Promise.all(numbers(20).map(ask));
    first.signal('SIGKILL');
    await first.exit;
    // It was collecting.
    expect(api.requests.upload).toBe(0);
    const second = await startLanyard({ yaml, env, dir: first.dir });
    const client = clientOf(second.url, DUMMY);
    const contents = new Map<string, string>();
    for (const id of new Set(taken.map((one) => one.id))) {
      const done = await ended(client, id);
      expect(done).toMatchObject({ status: 'completed', request_counts: { failed: 0 } });
      for (const line of await fileLines(client, done.output_file_id)) {
        expect(contents.has(line.custom_id)).toBe(false);
        contents.set(line.custom_id, told(line));
      }
    }
    expect(contents).toEqual(new Map(taken.map(({ custom_id }, n) => [custom_id, `echo: marker-${n}`])));
    expect(counted(api)).toEqual({ uploads: 1, batches: 1, lines: 20 });
  }, 40_000);
});

describe('the cache', () => {
  test('gives the same request its answer again, asks nothing, and is counted', async () => {
    const api = await startBatchApi();
    const { post, metric } = await openService(api);
    const said: string[] = [];
    for (const cache of ['miss', 'hit', 'hit']) {
      const answer = await post(chat('Hello!'));
      expect([answer.status, answer.headers.get('x-cache')]).toEqual([200, cache]);
      said.push(await answer.text());
    }
    expect(new Set(said).size).toBe(1);
    expect(counted(api)).toEqual({ uploads: 1, batches: 1, lines: 1 });
    expect(await metric('lanyard_cache_requests_total', { result: 'hit' })).toBe(2);
    expect(await metric('lanyard_cache_requests_total', { result: 'miss' })).toBe(1);
    for (const control of ['no-cache', 'no-store']) {
      expect((await post(chat('Hello!'), { 'cache-control': control })).status).toBe(200);
    }
    expect(counted(api)).toEqual({ uploads: 3, batches: 3, lines: 3 });
  });

  test('alone is asked in mode cache, after a restart too; and what had begun is finished', async () => {
    const api = await startBatchApi();
    const data = dataFolder();
    const first = await openService(api, { data });
    const before = await (await first.post(chat('Hello!'))).text();
    api.hold();
    const open = await first.post(chat('Later'), { 'x-lanyard-mode': 'batch-async' });
    const { id } = (await open.json()) as OpenAI.Batch;
    await api.until(({ batches }) => batches.length === 2);
    await first.stop();
    const { post, client } = await openService(api, { data, env: { CLIENT_SERVING_MODE: 'cache' } });
    const hit = await post(chat('Hello!'));
    expect([hit.status, hit.headers.get('x-cache'), await hit.text()]).toEqual([200, 'hit', before]);
    const miss = await post(chat('Never'));
    const body = (await miss.json()) as Failure;
    expect([miss.status, body.error.code, faultsOf('error', body)]).toEqual([404, 'not_in_cache', []]);
    api.release();
    expect(await ended(client, id)).toMatchObject({ status: 'completed', request_counts: { completed: 1 } });
    expect(api.batches).toHaveLength(2);
    const later = await post(chat('Later'));
    expect([later.status, contentOf(await later.json())]).toEqual([200, 'echo: Later']);
  });
});

describe('the official SDK', () => {
  type Ask = (client: OpenAI) => Promise<unknown>;
  const asking = (client: OpenAI, body: object): Promise<unknown> => client.post('/chat/completions', { body });

  test.each([
    ['an unknown model', 404, 'model_not_found', (client) => asking(client, chat('Hi', { model: 'gpt-none' }))],
    [
      'a chat without messages',
      400,
      'missing_required_parameter',
      (client) => asking(client, { model: 'gpt-4o-mini' }),
    ],
    ['no model', 400, 'missing_required_parameter', (client) => asking(client, { messages: [] })],
    ['an unknown batch', 404, 'batch_not_found', (client) => client.batches.retrieve('batch_0')],
    ['an unknown file', 404, 'file_not_found', (client) => client.files.content('file-0')],
    ['an unknown cancel', 404, 'batch_not_found', (client) => client.batches.cancel('batch_0')],
    ['a page of none', 400, 'invalid_value', (client) => client.batches.list({ limit: 0 })],
    ['a route of none', 404, 'unknown_url', (client) => client.get('/nothing')],
  ] as [string, number, string, Ask][])('raises its own error for %s', async (_what, status, code, ask) => {
    const { client } = await openService(await startBatchApi());
    const error = await ask(client).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(error).toBeInstanceOf(APIError);
    expect(error).toMatchObject({ status, code, message: expect.stringMatching(/\w/) });
  });
});

test('every answer has the members that OpenAI’s clients rely on', async () => {
  const api = await startBatchApi({
    answer: ({ body }) =>
      body['seed'] === 7
        ? { status: 400, body: { error: { message: 'No.', type: 'x', param: null, code: 'no' } } }
        : undefined,
  });
  const { post, client, url } = await openService(api);
  const faults: Record<string, string[]> = {};
  const look = (what: string, shape: Parameters<typeof faultsOf>[0], value: unknown): void =>
    void (faults[what] = faultsOf(shape, value));
  const get = async (path: string): Promise<unknown> => await (await fetch(`${url}${path}`)).json();
  look('an answer', 'completion', await (await post(chat('Hello!'))).json());
  look('an answer from before', 'completion', await (await post(chat('Hello!'))).json());
  look('a refusal', 'error', await (await post(chat('Hello!', { seed: 7 }))).json());
  look('a body that is no JSON', 'error', await (await post('{')).json());
  const taken = (await (await post(chat('Later'), { 'x-lanyard-mode': 'batch-async' })).json()) as OpenAI.Batch;
  look('a request taken', 'batch', taken);
  const done = await ended(client, taken.id);
  look('a batch that is done', 'batch', await get(`/v1/batches/${taken.id}`));
  look('its output', 'file', await get(`/v1/files/${done.output_file_id}`));
  const { id } = await upload(client, ['{'].concat(chatLine('a', 'gpt-4o-mini')));
  look('a file', 'file', await get(`/v1/files/${id}`));
  const asked = { input_file_id: id, endpoint: CHAT, completion_window: '24h' } as const;
  const failed = await client.batches.create({ ...asked, metadata: { a: 'b' } });
  look('a batch that is new', 'batch', failed);
  expect(await ended(client, failed.id)).toMatchObject({ status: 'failed' });
  look('a batch that failed', 'batch', await get(`/v1/batches/${failed.id}`));
  look('batches', 'batches', await get('/v1/batches'));
  look('no batches', 'batches', await get('/v1/batches?status=cancelled'));
  look('files', 'files', await get('/v1/files'));
  look('models', 'models', await get('/v1/models'));
  look('a file that is deleted', 'deleted', await (await fetch(`${url}/v1/files/${id}`, { method: 'DELETE' })).json());
  look('a batch of none', 'error', await get('/v1/batches/batch_0'));
  expect(faults).toEqual(Object.fromEntries(Object.keys(faults).map((what) => [what, []])));
});
