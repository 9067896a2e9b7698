// What goes wrong between the gateway and another's Batch API: answers that are lost, services that are away, keys that are
// refused, gateways that end in the middle. Nothing is sent twice, nothing is lost, and who waits is told.
import { describe, expect, test } from 'vitest';
import { digest } from '../../src/config/keys.ts';
import { startBatchApi, type BatchApi, type Route } from '../engines/batch-api.ts';
import { chatLine, clientOf, dataFolder, ended, fileLines, submit } from '../stage/batches.ts';
import { startLanyard } from '../stage/lanyard.ts';
import { freePort } from '../stage/ports.ts';
import { openUpstream, told } from '../stage/upstream.ts';

const names = (count: number): string[] => Array.from({ length: count }, (_, n) => `line-${n}`);
const chats = (ids: readonly string[]): string[] => ids.map((id) => chatLine(id, 'gpt-4o-mini', `marker ${id}`));
const counted = (api: BatchApi): object => ({ uploads: api.uploads.length, batches: api.batches.length });
const CHAT = '/v1/chat/completions';
const ALICE = 'sk-alice-of-the-stage-0123456789abcdef';
const ALICES = `auth: { keys: [{ name: alice, hash: "sha256:${digest(ALICE).toString('hex')}" }] }`;
const AS_ALICE = { authorization: `Bearer ${ALICE}` };
const ASYNC = { 'x-lanyard-mode': 'batch-async' };
const SYNC = { 'x-lanyard-mode': 'batch-sync' };
const chat = (content: string): object => ({ model: 'gpt-4o-mini', messages: [{ role: 'user', content }] });

describe('is survived:', () => {
  const refused = { status: 500 } as const;
  test.each([
    { what: 'an upload whose answer is lost', route: 'upload', faults: [{ reset_after: true }] },
    { what: 'an upload that breaks off', route: 'upload', faults: [{ reset: true }, refused] },
    { what: 'a creation whose answer is lost', route: 'create', faults: [{ reset_after: true }] },
    { what: 'a creation that breaks off', route: 'create', faults: [{ reset: true }, refused] },
    { what: 'polls that fail', route: 'poll', faults: [refused, refused, refused, { reset: true }, { status: 429 }] },
    {
      what: 'polls that say nothing',
      route: 'poll',
      faults: [
        { status: 200, body: 'pardon?' },
        { status: 200, body: {} },
      ],
    },
    { what: 'a batch that is not there yet', route: 'poll', faults: [{ status: 404 }, { status: 404 }] },
    { what: 'results that break off', route: 'content', faults: [{ reset: true }, refused, { status: 429 }] },
    { what: 'results that are not there yet', route: 'content', faults: [{ status: 404 }] },
  ] as const)('$what', async ({ route, faults }) => {
    const api = await startBatchApi();
    api.next(route, ...faults);
    const { client } = await openUpstream(api);
    const done = await ended(client, (await submit(client, chats(names(5)))).id);
    expect(done.request_counts).toEqual({ total: 5, completed: 5, failed: 0 });
    for (const line of await fileLines(client, done.output_file_id)) {
      expect(told(line)).toBe(`echo: marker ${line.custom_id}`);
    }
    expect(counted(api)).toEqual({ uploads: 1, batches: 1 });
  });

  test('a list of many batches, among which its own must be found', async () => {
    const api = await startBatchApi({ seed: 3 });
    const headers = { authorization: 'Bearer sk-upstream-test' };
    const form = new FormData();
    form.set('purpose', 'batch');
    form.set('file', new File(['{}\n'], 'other.jsonl'));
    const { id } = (await (await fetch(`${api.url}/v1/files`, { method: 'POST', headers, body: form })).json()) as {
      id: string;
    };
    const body = JSON.stringify({ input_file_id: id, endpoint: CHAT, completion_window: '24h' });
    const other = async (): Promise<void> => {
      const init = { method: 'POST', headers: { ...headers, 'content-type': 'application/json' }, body };
      await (await fetch(`${api.url}/v1/batches`, init)).arrayBuffer();
    };
    api.next('create', { held_after: true });
    const data = dataFolder();
    const first = await openUpstream(api, { data });
    const batch = await submit(first.client, chats(names(5)));
    await api.until(({ batches }) => batches.length === 1);
    for (let n = 0; n < 150; n += 1) await other();
    await first.stop();
    const { client } = await openUpstream(api, { data });
    expect((await ended(client, batch.id)).request_counts?.completed).toBe(5);
    expect(api.batches.filter(({ metadata }) => metadata !== null)).toHaveLength(1);
    expect(api.requests.list).toBe(2);
  });
});

describe('a gateway that ends', () => {
  test.each([
    { when: 'before an upload is taken', route: 'upload', fault: { held: true } },
    { when: 'after an upload was taken', route: 'upload', fault: { held_after: true } },
    { when: 'before a batch is created', route: 'create', fault: { held: true } },
    { when: 'after a batch was created', route: 'create', fault: { held_after: true } },
    { when: 'while it polls', route: 'poll', fault: { held: true } },
    { when: 'while it fetches', route: 'content', fault: { held: true } },
    { when: 'while it cleans up', route: 'delete', fault: { held_after: true } },
  ] as const)('$when is followed by one that goes on', async ({ route, fault }) => {
    const api = await startBatchApi();
    api.next(route, fault);
    const data = dataFolder();
    const first = await openUpstream(api, { data });
    const { id } = await submit(first.client, chats(names(5)));
    await api.until(({ held }) => held === 1);
    await first.stop();
    api.release();
    const { client } = await openUpstream(api, { data });
    const done = await ended(client, id);
    expect(done.request_counts).toEqual({ total: 5, completed: 5, failed: 0 });
    for (const line of await fileLines(client, done.output_file_id)) {
      expect(told(line)).toBe(`echo: marker ${line.custom_id}`);
    }
    await api.until(({ files }) => files.length === 0);
    expect(counted(api)).toEqual({ uploads: 1, batches: 1 });
  });

  test.each(['upload', 'create', 'poll', 'content'] as const satisfies Route[])(
    'by SIGKILL, when the service has done its %s, is followed by one that goes on',
    async (route) => {
      const api = await startBatchApi();
      api.next(route, { held_after: true });
      const key = 'sk-test-master-key-of-the-stage-0123456789';
      const yaml = `
listen: [{ port: ${await freePort()} }]
auth: { master_key: ${key} }
batch: { data: data, disk_free_bytes_min: 1, upstream: { poll_min_ms: 10ms, poll_max_ms: 50ms } }
backends:
  cloud: { engine: openai, url: "${api.url}/v1", key: sk-upstream-test, batch: upstream }
models:
  gpt-4o-mini: [cloud/gpt-4o-mini]
`;
      const first = await startLanyard({ yaml });
      const { id } = await submit(clientOf(first.url, key), chats(names(5)));
      await api.until(({ held }) => held === 1);
      first.signal('SIGKILL');
      await first.exit;
      api.release();
      const second = await startLanyard({ yaml, dir: first.dir });
      const client = clientOf(second.url, key);
      const done = await ended(client, id);
      expect(done.request_counts).toEqual({ total: 5, completed: 5, failed: 0 });
      expect(await fileLines(client, done.output_file_id)).toHaveLength(5);
      expect(counted(api)).toEqual({ uploads: 1, batches: 1 });
    },
    30_000,
  );
});

describe('for good:', () => {
  const error = { message: 'No batches for http://127.0.0.1 today.', type: 'x', param: null, code: 'no' };
  test.each([
    { what: 'an upload that is refused', route: 'upload', status: 400 },
    { what: 'a creation that is refused', route: 'create', status: 400 },
  ] as const)('$what ends each line with an error', async ({ route, status }) => {
    const api = await startBatchApi();
    api.next(route, { status, body: { error } });
    const { client } = await openUpstream(api);
    const done = await ended(client, (await submit(client, chats(names(3)))).id);
    expect(done.request_counts).toMatchObject({ completed: 0, failed: 3 });
    for (const { response } of await fileLines(client, done.error_file_id)) {
      expect(response).toMatchObject({ status_code: 502, body: { error: { code: 'upstream_error' } } });
      expect(JSON.stringify(response?.body)).toContain('No batches');
    }
    const again = await ended(client, (await submit(client, chats(names(3)))).id);
    expect(again.request_counts).toMatchObject({ completed: 3, failed: 0 });
  });

  test('a key that is refused is told to the operator, and to clients only that it was', async () => {
    const api = await startBatchApi();
    const gateway = await openUpstream(api, { key: 'sk-wrong-0123456789' });
    const done = await ended(gateway.client, (await submit(gateway.client, chats(names(3)))).id);
    const lines = await fileLines(gateway.client, done.error_file_id);
    expect(lines).toHaveLength(3);
    for (const { response } of lines) {
      expect(response).toMatchObject({ status_code: 502, body: { error: { code: 'upstream_auth' } } });
    }
    expect(gateway.logged()).toMatch(/"level":"error".*"backend":"cloud".*`key`/);
    expect(gateway.logged() + JSON.stringify(lines)).not.toContain('sk-wrong');
  });

  test('a batch that is gone, and results that are gone, end each line with an error', async () => {
    const api = await startBatchApi();
    const gone = { status: 404 } as const;
    api.next('poll', gone, gone, gone, gone, gone);
    const { client } = await openUpstream(api);
    const first = await ended(client, (await submit(client, chats(names(3)))).id);
    expect(first.request_counts).toMatchObject({ failed: 3 });
    api.next('content', gone, gone, gone);
    const second = await ended(client, (await submit(client, chats(names(3)))).id);
    expect(second.request_counts).toMatchObject({ failed: 3 });
    for (const { response } of await fileLines(client, second.error_file_id)) expect(response?.status_code).toBe(502);
  });
});

describe('a client that waits', () => {
  test('is in one batch there with those of other keys, and has its own answer', async () => {
    const api = await startBatchApi();
    const { ask } = await openUpstream(api, { batch: 'collate: { window_ms: 300ms }', text: ALICES });
    const answers = await Promise.all(
      names(30).map((id, n) => ask(CHAT, chat(id), { headers: { ...SYNC, ...(n % 2 === 0 ? AS_ALICE : {}) } })),
    );
    expect(new Set(answers.map(({ headers }) => headers.get('x-lanyard-batch'))).size).toBe(2);
    for (const [n, answer] of answers.entries()) {
      expect(answer.status).toBe(200);
      expect(JSON.stringify(await answer.json())).toContain(`echo: line-${n}"`);
    }
    expect(counted(api)).toEqual({ uploads: 1, batches: 1 });
    expect(api.batches[0]?.line_count).toBe(30);
  });

  test.each([
    { what: 'uploads that break off', route: 'upload', fault: { reset: true }, times: 5, code: 'upstream_unreachable' },
    { what: 'a creation that fails', route: 'create', fault: { status: 500 }, times: 5, code: 'upstream_error' },
    {
      what: 'a creation that is put off for long',
      route: 'create',
      fault: { status: 429, headers: { 'retry-after': '20' } },
      times: 1,
      code: 'upstream_error',
    },
    { what: 'a key that is refused', route: 'upload', fault: { status: 401 }, times: 1, code: 'upstream_auth' },
  ] as const)(
    'has its error within seconds of $what, and the next one an answer',
    async ({ route, fault, times, code }) => {
      const api = await startBatchApi();
      api.next(route, ...Array.from({ length: times }, () => fault));
      const { ask } = await openUpstream(api, { batch: 'collate: { window_ms: 50ms }' });
      const signal = AbortSignal.timeout(10_000);
      const all = await Promise.all(names(3).map((id) => ask(CHAT, chat(id), { headers: SYNC, signal })));
      for (const answer of all) {
        expect([answer.status, await answer.json()]).toEqual([502, { error: expect.objectContaining({ code }) }]);
      }
      const next = await ask(CHAT, chat('line-0'), { headers: SYNC });
      expect(JSON.stringify(await next.json())).toContain('echo: line-0"');
    },
    20_000,
  );

  test('has its error within seconds of a silence, and what came of it is not left to run', async () => {
    const api = await startBatchApi();
    api.next('create', { held_after: true });
    const { ask } = await openUpstream(api, { batch: 'collate: { window_ms: 50ms }' });
    const answer = await ask(CHAT, chat('Hi'), { headers: SYNC, signal: AbortSignal.timeout(10_000) });
    expect([answer.status, await answer.json()]).toMatchObject([502, { error: { code: 'upstream_unreachable' } }]);
    await api.until(({ requests, files }) => requests.cancel === 1 && files.length === 0);
    expect(api.batches).toHaveLength(1);
  }, 20_000);
});

describe('a batch that is cancelled', () => {
  test('is cancelled there, and what was done by then is delivered', async () => {
    const api = await startBatchApi({ steps: { in_progress: 1e6 } });
    // So many are done when it is cancelled.
    api.verdict({ cancelled: 2 });
    const { client } = await openUpstream(api);
    const { id } = await submit(client, chats(names(5)));
    await api.until(({ batches }) => batches[0]?.batch.status === 'in_progress');
    await client.batches.cancel(id);
    const done = await ended(client, id);
    expect(done).toMatchObject({ status: 'cancelled', request_counts: { total: 5, completed: 2, failed: 3 } });
    for (const line of await fileLines(client, done.output_file_id)) {
      expect(told(line)).toBe(`echo: marker ${line.custom_id}`);
    }
    for (const line of await fileLines(client, done.error_file_id)) {
      expect(line).toMatchObject({ response: null, error: { code: 'batch_cancelled' } });
    }
    await api.until(({ files }) => files.length === 0);
    expect(api.requests.cancel).toBe(1);
  });

  test('ends at once where it shares a batch there with others, whose lines run on', async () => {
    const api = await startBatchApi({ steps: { in_progress: 1e6 } });
    const gateway = await openUpstream(api, { batch: 'collate: { window_ms: 200ms }', text: ALICES });
    const join = async (headers: Record<string, string>): Promise<string> => {
      const answer = await gateway.ask(CHAT, chat('both'), { headers: { ...ASYNC, ...headers } });
      return ((await answer.json()) as { id: string }).id;
    };
    const [mine, alices] = await Promise.all([join({}), join(AS_ALICE)]);
    await api.until(({ batches }) => batches[0]?.batch.status === 'in_progress');
    await gateway.client.batches.cancel(mine);
    const done = await ended(gateway.client, mine);
    expect(done).toMatchObject({ status: 'cancelled', request_counts: { total: 1, failed: 1 } });
    expect(api.requests.cancel).toBe(0);
    await api.finish(api.batches[0]?.id ?? '');
    const other = await ended(clientOf(gateway.url, ALICE), alices);
    expect(other).toMatchObject({ status: 'completed', request_counts: { total: 1, completed: 1 } });
    expect(counted(api)).toEqual({ uploads: 1, batches: 1 });
  });

  test('before it is there ends at once, and nothing is created', async () => {
    const api = await startBatchApi();
    api.next('upload', { held: true });
    const { client } = await openUpstream(api);
    const { id } = await submit(client, chats(names(5)));
    await api.until(({ held }) => held === 1);
    await client.batches.cancel(id);
    const done = await ended(client, id);
    expect(done).toMatchObject({ status: 'cancelled', request_counts: { total: 5, completed: 0, failed: 5 } });
    api.release();
    await api.until(({ deleted }) => deleted.length === 1);
    expect(api.batches).toHaveLength(0);
  });
});
