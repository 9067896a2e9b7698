// Files and batches of models that another's Batch API serves, from OpenAI's client to the service and back.
import { describe, expect, test } from 'vitest';
import { startBatchApi, token_limit_exceeded, type BatchApi } from '../engines/batch-api.ts';
import { chatLine, ended, fileLines, lineOf, submit } from '../stage/batches.ts';
import { openUpstream, told } from '../stage/upstream.ts';

const names = (count: number): string[] => Array.from({ length: count }, (_, n) => `line-${n}`);
const chats = (ids: readonly string[], model = 'gpt-4o-mini'): string[] =>
  ids.map((id) => chatLine(id, model, `marker ${id}`));
const sizes = (api: BatchApi): number[] => api.batches.map(({ line_count }) => line_count).sort((a, b) => a - b);
const linesOf = (api: BatchApi): Record<string, unknown>[] =>
  api.uploads.flatMap(({ id }) => api.lines(id).map((line) => JSON.parse(line) as Record<string, unknown>));

test('the lines of a file become one batch there, and each has its own answer though they come in another order', async () => {
  const api = await startBatchApi();
  const gateway = await openUpstream(api);
  const { client } = gateway;
  const ids = names(200);
  const batch = await submit(client, chats(ids));
  const done = await ended(client, batch.id);
  expect(done).toMatchObject({ status: 'completed', request_counts: { total: 200, completed: 200, failed: 0 } });
  expect(done.usage?.total_tokens).toBeGreaterThan(0);
  const lines = await fileLines(client, done.output_file_id);
  expect(lines.map(({ custom_id }) => custom_id).sort()).toEqual([...ids].sort());
  for (const line of lines) {
    expect(line.response?.status_code).toBe(200);
    expect(told(line)).toBe(`echo: marker ${line.custom_id}`);
  }
  expect(api.uploads).toHaveLength(1);
  expect(api.batches).toHaveLength(1);
  expect(api.batches[0]?.metadata).toEqual({ lanyard: expect.stringMatching(/^shard_[0-9a-f]{32}$/) });
  expect([...api.authorizations]).toEqual(['Bearer sk-upstream-test']);
  expect(gateway.logged()).not.toContain('sk-upstream-test');
  expect(gateway.logged()).not.toContain('marker');
});

describe('one batch there has', () => {
  test('one model, under the name that it has there', async () => {
    const api = await startBatchApi();
    const { client } = await openUpstream(api);
    const ids = names(30);
    const models = ['gpt-4o-mini', 'gpt-3.5-turbo', 'small'];
    const batch = await submit(
      client,
      ids.flatMap((id, n) => chats([id], models[n % 3])),
    );
    const done = await ended(client, batch.id);
    expect(done.request_counts).toEqual({ total: 30, completed: 30, failed: 0 });
    // `small` is another name for the first.
    expect(new Map(api.batches.map(({ model, line_count }) => [model, line_count]))).toEqual(
      new Map([
        ['gpt-3.5-turbo', 10],
        ['gpt-4o-mini', 20],
      ]),
    );
    expect(api.batches).toHaveLength(2);
  });

  test.each([
    { what: 'lines', limit: 'lines_max: 40', count: 100, batches: [20, 40, 40] },
    { what: 'bytes', limit: 'bytes_max: 16KiB', count: 100, batches: undefined },
  ])('so many $what and no more', async ({ limit, count, batches }) => {
    const api = await startBatchApi();
    const { client } = await openUpstream(api, { batch: `collate: { ${limit} }` });
    const batch = await submit(client, chats(names(count)));
    const done = await ended(client, batch.id);
    expect(done.request_counts).toEqual({ total: count, completed: count, failed: 0 });
    expect(linesOf(api)).toHaveLength(count);
    expect(api.batches.length).toBeGreaterThan(1);
    if (batches !== undefined) expect(sizes(api)).toEqual(batches);
    for (const { bytes } of api.uploads) expect(bytes).toBeLessThanOrEqual(16_384);
  });

  test('50,000 inputs of embeddings and no more', async () => {
    const api = await startBatchApi({ answer: () => ({ status: 200, body: { object: 'list', data: [] } }) });
    const { client } = await openUpstream(api);
    const model = 'text-embedding-3-small';
    const lines = names(5).map((id) =>
      lineOf(id, { model, input: Array.from({ length: 20_000 }, () => id) }, '/v1/embeddings'),
    );
    const batch = await submit(client, lines, { endpoint: '/v1/embeddings' });
    const done = await ended(client, batch.id);
    expect(done.request_counts).toEqual({ total: 5, completed: 5, failed: 0 });
    expect(sizes(api)).toEqual([1, 2, 2]);
  });
});

test('what a client asks arrives byte by byte, but for the model and what asks for a stream', async () => {
  const api = await startBatchApi();
  const { client } = await openUpstream(api);
  const rest =
    '"messages" : [{"role":"user","content":"caf\\u00e9 ✓"}], "temperature":0, "top_p":0.0,"n":1, "stop":"###",' +
    '"seed":12345678901234567890,"x_foo":{"a":[1.50,1e3,null]},"max_tokens":5';
  const line = (id: string, body: string): string =>
    `{"custom_id":"${id}","method":"POST","url":"/v1/chat/completions","body":${body}}`;
  const batch = await submit(client, [
    line('first', `{"model":"small",${rest}}`),
    line('streams', `{${rest}, "model" : "small","stream":false,"stream_options":null}`),
    line('list', `{"stop":["\\n\\n","###"],"model":"small",${rest.replace('"stop":"###",', '')}}`),
  ]);
  await ended(client, batch.id);
  const [upload] = api.uploads;
  const bodies = api.lines(upload?.id ?? '').map((text) => /"body":(.*)\}$/.exec(text)?.[1]);
  expect(bodies).toEqual([
    `{"model":"gpt-4o-mini",${rest}}`,
    `{${rest}, "model" : "gpt-4o-mini"}`,
    `{"stop":["\\n\\n","###"],"model":"gpt-4o-mini",${rest.replace('"stop":"###",', '')}}`,
  ]);
});

test('one line that fails has the error that the service gave it, and nobody else has', async () => {
  const error = { message: 'Too hot.', type: 'invalid_request_error', param: 'temperature', code: 'too_hot' };
  const api = await startBatchApi({
    answer: ({ body }) => (JSON.stringify(body).includes('line-3"') ? { status: 400, body: { error } } : undefined),
  });
  const { client } = await openUpstream(api);
  const done = await ended(client, (await submit(client, chats(names(10)))).id);
  expect(done).toMatchObject({ status: 'completed', request_counts: { total: 10, completed: 9, failed: 1 } });
  const [bad, ...others] = await fileLines(client, done.error_file_id);
  expect(others).toEqual([]);
  expect(bad).toMatchObject({ custom_id: 'line-3', response: { status_code: 400, body: { error } }, error: null });
  expect(await fileLines(client, done.output_file_id)).toHaveLength(9);
});

test("an answer that says that the gateway's key is wrong is not told as the client's fault", async () => {
  const error = { message: 'Incorrect API key provided: sk-up***', type: 'x', param: null, code: 'invalid_api_key' };
  const api = await startBatchApi({ answer: () => ({ status: 401, body: { error } }) });
  const { client } = await openUpstream(api);
  const done = await ended(client, (await submit(client, chats(['a']))).id);
  const [line] = await fileLines(client, done.error_file_id);
  expect(line?.response).toMatchObject({ status_code: 502, body: { error: { code: 'upstream_auth' } } });
});

describe('a batch that is to end as', () => {
  const LINE_FAULT = { code: 'invalid_json_line', message: 'This line is bad.', param: null };
  const SENT_NONE = { response: { status_code: 502, body: { error: { code: 'upstream_invalid' } } } };
  const REFUSED = { response: { status_code: 502, body: { error: { code: 'upstream_error' } } } };
  test.each([
    { verdict: 'completed_without_files', name: 'completed, without files', ok: 0, left: SENT_NONE },
    { verdict: { ids: '' }, name: 'completed, with empty ids', ok: 0, left: SENT_NONE },
    { verdict: { expired: 2 }, name: 'expired', ok: 2, left: { response: null, error: { code: 'batch_expired' } } },
    { verdict: { expired: 0 }, name: 'expired, with nothing done', ok: 0, left: { error: { code: 'batch_expired' } } },
    { verdict: { cancelled: 2 }, name: 'cancelled', ok: 2, left: { error: { code: 'batch_cancelled' } } },
    { verdict: { failed: [] }, name: 'failed, and says nothing', ok: 0, left: REFUSED },
    {
      verdict: { failed: [{ code: 'billing', message: 'No money at api.example.', param: null, line: null }] },
      name: 'failed, as a whole',
      ok: 0,
      left: { response: { body: { error: { message: expect.stringContaining('No money') } } } },
    },
    {
      verdict: {
        failed: [
          { ...LINE_FAULT, line: 2 },
          { ...LINE_FAULT, line: 4 },
        ],
      },
      name: 'failed, for two lines',
      ok: 3,
      left: {
        response: { status_code: 400, body: { error: { code: 'invalid_json_line', message: 'This line is bad.' } } },
      },
    },
  ] as const)('$name gives each line what is its own', async ({ verdict, ok, left }) => {
    const api = await startBatchApi();
    api.verdict(verdict);
    const { client } = await openUpstream(api);
    const ids = names(5);
    const done = await ended(client, (await submit(client, chats(ids))).id);
    expect(done).toMatchObject({ status: 'completed', request_counts: { total: 5, completed: ok, failed: 5 - ok } });
    const good = await fileLines(client, done.output_file_id);
    for (const line of good) expect(told(line)).toBe(`echo: marker ${line.custom_id}`);
    const bad = await fileLines(client, done.error_file_id);
    for (const line of bad) expect(line).toMatchObject(left);
    expect([...good, ...bad].map(({ custom_id }) => custom_id).sort()).toEqual(ids);
    // Nothing of it is in the way of the same once more.
    const again = await ended(client, (await submit(client, chats(ids))).id);
    expect(again.request_counts).toMatchObject({ completed: 5, failed: 0 });
  });

  test('failed, for lines of it, ends exactly those, and the others run in another one', async () => {
    const api = await startBatchApi();
    api.verdict({ failed: [{ code: 'bad', message: 'Bad.', param: null, line: 3 }] });
    const { client } = await openUpstream(api);
    const done = await ended(client, (await submit(client, chats(names(5)))).id);
    const [line] = await fileLines(client, done.error_file_id);
    const third = JSON.parse(api.lines(api.uploads[0]?.id ?? '')[2] ?? '{}') as { body: { messages: unknown[] } };
    expect(third.body.messages).toEqual([{ role: 'user', content: `marker ${line?.custom_id}` }]);
    expect(api.batches.map(({ line_count }) => line_count)).toEqual([5, 4]);
  });

  test('failed, for other lines again and again, ends with an error after so many tries', async () => {
    const api = await startBatchApi();
    const failed = [{ code: 'bad', message: 'Bad.', param: null, line: 1 }];
    api.verdict({ failed }, { failed }, { failed }, { failed });
    const { client } = await openUpstream(api, { batch: 'tries: 3' });
    const done = await ended(client, (await submit(client, chats(names(5)))).id);
    expect(done.request_counts).toMatchObject({ completed: 0, failed: 5 });
    expect(api.batches.map(({ line_count }) => line_count)).toEqual([5, 4, 3]);
  });
});

test('where too many tokens wait there, the lines come later, and in halves where they were alone', async () => {
  const api = await startBatchApi();
  api.verdict(token_limit_exceeded('gpt-4o-mini', 90_000), token_limit_exceeded('gpt-4o-mini', 90_000));
  const { client } = await openUpstream(api);
  const done = await ended(client, (await submit(client, chats(names(8)))).id);
  expect(done.request_counts).toEqual({ total: 8, completed: 8, failed: 0 });
  expect(api.batches.map(({ line_count }) => line_count).slice(0, 2)).toEqual([8, 4]);
});

test.each([
  { keep: 'keep_files: true', left: 3 },
  { keep: 'keep_files: false', left: 0 },
])('with $keep, $left files stay there', async ({ keep, left }) => {
  const api = await startBatchApi({
    answer: ({ body }) => (JSON.stringify(body).includes('line-1"') ? { status: 400, body: { error: {} } } : undefined),
  });
  const gateway = await openUpstream(api, { upstream: keep });
  await ended(gateway.client, (await submit(gateway.client, chats(names(3)))).id);
  if (left === 0) await api.until(({ files }) => files.length === 0);
  else await gateway.stop();
  expect(api.files).toHaveLength(left);
});

test('files that cannot be removed keep nobody waiting, and are removed later', async () => {
  const api = await startBatchApi();
  api.next('delete', { status: 500 }, { reset: true });
  const { client } = await openUpstream(api);
  const done = await ended(client, (await submit(client, chats(names(3)))).id);
  expect(done.request_counts?.completed).toBe(3);
  await api.until(({ files }) => files.length === 0);
});
