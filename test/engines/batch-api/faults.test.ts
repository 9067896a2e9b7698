// What a test puts in the way of the fake Batch API's callers: errors, broken connections, waits.
import { request } from 'node:http';
import { describe, expect, test } from 'vitest';
import { type BatchApi, type Route, startBatchApi } from '../batch-api.ts';
import { KEY, type Told, many, form, ask, upload, create, error_of } from './ask.ts';

describe('what a test puts in the way', () => {
  const send = async (api: BatchApi, route: Route): Promise<Told> => {
    const id = await create(api, many(1));
    const file = api.batches.at(-1)?.input_file_id;
    const calls = {
      upload: ['POST', '/files', form(many(1))],
      create: ['POST', '/batches', { input_file_id: file, endpoint: '/v1/chat/completions', completion_window: '24h' }],
      poll: ['GET', `/batches/${id}`],
      list: ['GET', '/batches'],
      cancel: ['POST', `/batches/${id}/cancel`],
      content: ['GET', `/files/${file}/content`],
      retrieve_file: ['GET', `/files/${file}`],
      list_files: ['GET', '/files'],
      delete: ['DELETE', `/files/${file}`],
      models: ['GET', '/models'],
      direct: ['POST', '/chat/completions', { model: 'gpt-4o-mini', messages: [] }],
    } satisfies Record<Route, [string, string, (FormData | object)?]>;
    const [method, path, body] = calls[route] as [string, string, FormData | object | undefined];
    const before = api.requests[route];
    // `create` has used the route already, so that the fault is put in now.
    api.next(route, { status: 503 }, { reset: true });
    const told = await ask(api, method, path, body);
    await expect(ask(api, method, path, body)).rejects.toThrow();
    expect(api.requests[route]).toBe(before + 2);
    return told;
  };
  const routes: Route[] = ['upload', 'create', 'poll', 'list', 'cancel', 'content', 'retrieve_file', 'list_files'];

  test.each([...routes, 'delete', 'models', 'direct'] satisfies Route[])('an error, and a reset: %s', async (route) => {
    const api = await startBatchApi();
    const told = await send(api, route);
    expect([told.status, error_of(told)]).toMatchObject([503, { type: 'server_error' }]);
    expect([api.uploads.length, api.batches.length, api.deleted, api.directs]).toEqual([1, 1, [], []]);
    expect(api.batches[0]?.batch.status).toBe('validating');
  });

  test('an error of its own, with headers, while a large file is on its way', async () => {
    const api = await startBatchApi();
    const body = { error: { message: 'slow down', type: 'requests', param: null, code: 'rate_limit_exceeded' } };
    api.next('upload', { status: 429, body, headers: { 'retry-after': '7' } });
    const content = form('x'.repeat(10 << 20));
    const response = await fetch(`${api.url}/v1/files`, { method: 'POST', headers: KEY, body: content });
    expect([response.status, response.headers.get('retry-after')]).toEqual([429, '7']);
    expect(await response.json()).toEqual(body);
  });

  test('a batch is there, and nobody was told', async () => {
    const api = await startBatchApi();
    api.next('create', { reset_after: true });
    await expect(create(api, many(1), { metadata: { window: 'w1' } })).rejects.toThrow();
    expect((await ask(api, 'GET', '/batches')).body['data']).toMatchObject([{ metadata: { window: 'w1' } }]);
    api.next('upload', { reset_after: true });
    await expect(upload(api, many(1))).rejects.toThrow();
    expect(api.uploads).toHaveLength(2);
  });

  test('a wait: before it is done, and before it is told', async () => {
    const api = await startBatchApi();
    api.next('upload', { held: true }, { held_after: true });
    const first = upload(api, many(1));
    await api.until(({ held }) => held === 1);
    expect(api.uploads).toHaveLength(0);
    const second = upload(api, many(1));
    await api.until(({ held }) => held === 2);
    expect(api.uploads).toHaveLength(1);
    api.release();
    expect(new Set([await first, await second])).toEqual(new Set(api.uploads.map(({ id }) => id)));
  });

  test('who has left is not served afterwards', async () => {
    const api = await startBatchApi();
    const input_file_id = await upload(api, many(1));
    const order = { input_file_id, endpoint: '/v1/chat/completions', completion_window: '24h' };
    const leave = new AbortController();
    api.next('create', { held: true });
    const sent = fetch(`${api.url}/v1/batches`, {
      method: 'POST',
      headers: { ...KEY, 'content-type': 'application/json' },
      body: JSON.stringify(order),
      signal: leave.signal,
    });
    await api.until(({ held }) => held === 1);
    leave.abort();
    await expect(sent).rejects.toThrow();
    // A round trip on another connection, by when the first is known to be gone.
    await ask(api, 'GET', '/models');
    api.release();
    await ask(api, 'GET', '/models');
    expect(api.batches).toEqual([]);
    await expect(api.until(() => false, 10)).rejects.toThrow('did not happen');
  });

  test('an upload that breaks off is no upload', async () => {
    const api = await startBatchApi();
    const headers = { ...KEY, 'content-type': 'multipart/form-data; boundary=b' };
    const sent = request(`${api.url}/v1/files`, { method: 'POST', headers });
    sent.on('error', () => {});
    sent.write('--b\r\ncontent-disposition: form-data; name="file"; filename="x.jsonl"\r\n\r\n');
    sent.write(many(100_000));
    await api.until(({ requests }) => requests.upload === 1);
    let ended = false;
    const end = api.until(() => ended);
    // The next that happens is the end of the upload.
    ended = true;
    sent.destroy();
    await end;
    expect([api.uploads, api.files]).toEqual([[], []]);
  });
});
