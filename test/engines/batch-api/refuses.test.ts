// What the fake Batch API refuses: uploads and new batches at once, lines afterwards.
import { describe, expect, test } from 'vitest';
import { startBatchApi } from '../batch-api.ts';
import { KEY, line, text_of, many, form, ask, upload, create, ended, error_of } from './ask.ts';

describe('uploads', () => {
  const table: [why: string, data: FormData, status: number, message: string][] = [
    ['no purpose', without('purpose'), 400, "Missing required parameter: 'purpose'"],
    ['another purpose', form('{}', { purpose: 'fine-tune' }), 400, 'Invalid value for purpose'],
    ['no file', without('file'), 400, "Missing required parameter: 'file'"],
    ['another name', form('{}', {}, 'requests.json'), 400, 'Must be .jsonl'],
    ['an empty file', form(''), 400, 'File is empty'],
    ['an unknown field', form('{}', { colour: 'red' }), 400, "Unknown parameter: 'colour'"],
    ['a second file', twice('file'), 400, 'Only one file'],
    ['a file of another field', twice('other'), 400, "Unknown parameter: 'other'"],
    ['a short life', form('{}', expiry('created_at', '3599')), 400, 'between 3600 and 2592000'],
    ['a long life', form('{}', expiry('created_at', '2592001')), 400, 'between 3600 and 2592000'],
    ['half a life', form('{}', { 'expires_after[anchor]': 'created_at' }), 400, 'between 3600 and 2592000'],
    ['another anchor', form('{}', expiry('now', '3600')), 400, "must be 'created_at'"],
    ['more than the limit', form('x'.repeat(100_001)), 413, 'too large'],
  ];

  function without(name: string): FormData {
    const data = form('{}');
    data.delete(name);
    return data;
  }
  function twice(name: string): FormData {
    const data = form('{}');
    data.append(name, new File(['{}'], 'more.jsonl'));
    return data;
  }
  function expiry(anchor: string, seconds: string): Record<string, string> {
    return { 'expires_after[anchor]': anchor, 'expires_after[seconds]': seconds };
  }

  test.each(table)('%s is refused', async (_, data, status, message) => {
    const api = await startBatchApi({ file_bytes_max: 100_000 });
    const told = await ask(api, 'POST', '/files', data);
    expect(told.status).toBe(status);
    expect(error_of(told).message).toContain(message);
    expect(api.uploads).toEqual([]);
    expect(api.requests.upload).toBe(1);
    expect((await ask(api, 'GET', '/files')).body).toMatchObject({ data: [], first_id: null, has_more: false });
  });

  test('what is not a form is refused', async () => {
    const api = await startBatchApi();
    expect((await ask(api, 'POST', '/files', { purpose: 'batch' })).status).toBe(400);
    const headers = { ...KEY, 'content-type': 'multipart/form-data; boundary=b' };
    const body = '--b\r\ncontent-disposition: form-data; name="file"; filename="x.jsonl"\r\n\r\n{"cut":';
    const response = await fetch(`${api.url}/v1/files`, { method: 'POST', headers, body });
    expect(response.status).toBe(400);
    expect(await response.text()).toContain('Could not parse multipart form');
  });

  test('a file comes back as it was sent, and is told of until it is deleted', async () => {
    const api = await startBatchApi();
    const content = `{"custom_id":"ü 世界 🌍",  "n": 1.0}\r\n{"last": true}`;
    const data = form(content, { 'expires_after[anchor]': 'created_at', 'expires_after[seconds]': '3600' });
    const { body } = await ask(api, 'POST', '/files', data);
    const { id } = body;
    const bytes = Buffer.byteLength(content);
    expect(body).toMatchObject({ object: 'file', bytes, filename: 'requests.jsonl', purpose: 'batch' });
    expect(Number(body['expires_at']) - Number(body['created_at'])).toBe(3600);
    expect((await ask(api, 'GET', `/files/${id}`)).body).toEqual(body);
    const raw = await fetch(`${api.url}/v1/files/${id}/content`, { headers: KEY });
    expect(await raw.text()).toBe(content);
    expect(api.uploads).toMatchObject([{ id, bytes, line_count: 2, filename: 'requests.jsonl' }]);
    expect((await ask(api, 'DELETE', `/files/${id}`)).body).toEqual({ id, object: 'file', deleted: true });
    for (const path of [`/files/${id}`, `/files/${id}/content`]) {
      const told = await ask(api, 'GET', path);
      expect([told.status, error_of(told)]).toMatchObject([
        404,
        { message: `No such File object: ${id}`, param: 'id' },
      ]);
    }
    expect([api.deleted, api.files]).toEqual([[id], []]);
    expect(api.lines(id).join('\n')).toBe(content);
  });

  test('two hundred megabytes are taken', async () => {
    const api = await startBatchApi();
    const megabyte = Buffer.alloc(1 << 20, `${JSON.stringify({ filler: 'x'.repeat(1010) })}\n`);
    const whole = new Blob([...Array.from({ length: 190 }, () => megabyte), 'x'.repeat(200_000_000 - (190 << 20))]);
    const told = await ask(api, 'POST', '/files', form(whole));
    expect([told.status, told.body['bytes']]).toEqual([200, 200_000_000]);
    expect(api.uploads[0]?.line_count).toBe((190 << 10) + 1);
    const more = await ask(api, 'POST', '/files', form(new Blob([whole, 'x'])));
    expect(more.status).toBe(413);
  });
});

describe('new batches', () => {
  const pairs = (count: number): Record<string, string> =>
    Object.fromEntries(Array.from({ length: count }, (_, index) => [`key-${index}`, 'value']));
  const table: [why: string, change: object, param: string | null, code: string | null][] = [
    ['no file', { input_file_id: undefined }, 'input_file_id', 'missing_required_parameter'],
    ['a file that is not there', { input_file_id: 'file-none' }, 'input_file_id', null],
    ['an id that is no string', { input_file_id: 1 }, 'input_file_id', 'invalid_type'],
    ['no endpoint', { endpoint: undefined }, 'endpoint', 'missing_required_parameter'],
    ['another endpoint', { endpoint: '/v1/audio/speech' }, 'endpoint', 'invalid_value'],
    ['an endpoint without its version', { endpoint: '/chat/completions' }, 'endpoint', 'invalid_value'],
    ['no window', { completion_window: undefined }, 'completion_window', 'missing_required_parameter'],
    ['another window', { completion_window: '1h' }, 'completion_window', 'invalid_value'],
    ['an unknown field', { model: 'gpt-4o-mini' }, 'model', 'unknown_parameter'],
    ['metadata that is no object', { metadata: ['a'] }, 'metadata', 'invalid_value'],
    ['17 pairs of metadata', { metadata: pairs(17) }, 'metadata', 'invalid_value'],
    ['a long key', { metadata: { ['k'.repeat(65)]: 'v' } }, 'metadata', 'invalid_value'],
    ['a long value', { metadata: { k: 'v'.repeat(513) } }, 'metadata', 'invalid_value'],
    ['a value that is no string', { metadata: { k: 1 } }, 'metadata', 'invalid_value'],
    [
      'a short life of the output',
      { output_expires_after: { anchor: 'created_at', seconds: 1 } },
      'output_expires_after.seconds',
      'invalid_value',
    ],
  ];

  test.each(table)('%s is refused', async (_, change, param, code) => {
    const api = await startBatchApi();
    const input_file_id = await upload(api, many(1));
    const order = { input_file_id, endpoint: '/v1/chat/completions', completion_window: '24h', ...change };
    const told = await ask(api, 'POST', '/batches', order);
    expect([told.status, error_of(told)]).toMatchObject([400, { param, code, type: 'invalid_request_error' }]);
    expect(api.batches).toEqual([]);
  });

  test('an output file cannot be an input', async () => {
    const api = await startBatchApi();
    const { batch } = await ended(api, await create(api, many(1)));
    const order = { input_file_id: batch.output_file_id, endpoint: '/v1/embeddings', completion_window: '24h' };
    const told = await ask(api, 'POST', '/batches', order);
    expect([told.status, error_of(told).message]).toEqual([400, expect.stringContaining("of purpose 'batch'")]);
  });

  test('16 pairs of 64 and 512 characters are taken, and the lines are not looked at', async () => {
    const api = await startBatchApi();
    const metadata = { ...pairs(15), ['k'.repeat(64)]: 'v'.repeat(512) };
    const input_file_id = await upload(api, 'no JSON\n');
    const order = { input_file_id, endpoint: '/v1/chat/completions', completion_window: '24h', metadata };
    const { status, body } = await ask(api, 'POST', '/batches', order);
    const { id, created_at, expires_at, ...rest } = body;
    expect(status).toBe(200);
    expect(Number(expires_at) - Number(created_at)).toBe(86_400);
    expect(rest).toEqual({
      object: 'batch',
      endpoint: '/v1/chat/completions',
      model: null,
      errors: null,
      input_file_id,
      completion_window: '24h',
      status: 'validating',
      output_file_id: null,
      error_file_id: null,
      in_progress_at: null,
      finalizing_at: null,
      completed_at: null,
      failed_at: null,
      expired_at: null,
      cancelling_at: null,
      cancelled_at: null,
      request_counts: { total: 0, completed: 0, failed: 0 },
      usage: null,
      metadata,
    });
    expect(api.batches).toMatchObject([{ id, input_file_id, metadata, line_count: 1, model: undefined }]);
  });
});

describe('lines', () => {
  const table: [why: string, content: string, found: [code: string, line: number | null, param: string | null][]][] = [
    ['no JSON', text_of(line(1), '{"custom_id":'), [['invalid_json_line', 2, null]]],
    ['no object', text_of('[]', line(2)), [['invalid_json_line', 1, null]]],
    ['a blank line', text_of(line(1), '', line(3)), [['invalid_json_line', 2, null]]],
    ['a blank line at the end', text_of(line(1), ''), [['invalid_json_line', 2, null]]],
    ['a byte order mark', `\uFEFF${many(1)}`, [['invalid_json_line', 1, null]]],
    ['nothing but blanks', ' \n\n', [['empty_file', null, null]]],
    ['the same id twice', text_of(line(1), line(2), line(1)), [['duplicate_custom_id', 3, 'custom_id']]],
    ['two models', text_of(line(1), line(2, {}, { model: 'gpt-3.5-turbo' })), [['mismatched_model', 2, 'body.model']]],
    ['an unknown model', text_of(line(1, {}, { model: 'gpt-2' })), [['model_not_found', 1, 'body.model']]],
    ['another url', text_of(line(1, { url: '/v1/embeddings' })), [['url_mismatch', 1, 'url']]],
    ['another method', text_of(line(1, { method: 'GET' })), [['invalid_method', 1, 'method']]],
    ['an unknown member', text_of(line(1, { priority: 1 })), [['invalid_request', 1, 'priority']]],
    ['an empty id', text_of(line(1, { custom_id: '' })), [['invalid_request', 1, 'custom_id']]],
    ['a body that is no object', text_of(line(1, { body: 'x' })), [['invalid_request', 1, 'body']]],
    ['a stream', text_of(line(1, {}, { stream: true })), [['invalid_request', 1, 'body.stream']]],
    ['a stream that is off', text_of(line(1, {}, { stream: false })), [['invalid_request', 1, 'body.stream']]],
    ['too many', many(6), [['too_many_tasks', null, null]]],
    ...['custom_id', 'method', 'url', 'body'].map((name): (typeof table)[number] => [
      `no ${name}`,
      text_of(line(1, { [name]: undefined })),
      [['missing_required_parameter', 1, name]],
    ]),
    ['no model', text_of(line(1, {}, { model: undefined })), [['missing_required_parameter', 1, 'body.model']]],
    [
      'two wrong lines',
      text_of('{', line(2), line(3, { method: 'PUT' })),
      [
        ['invalid_json_line', 1, null],
        ['invalid_method', 3, 'method'],
      ],
    ],
  ];

  test.each(table)('%s fails the batch', async (_, content, found) => {
    const api = await startBatchApi({ lines_max: 5 });
    const { batch, states } = await ended(api, await create(api, content));
    expect(states).toEqual(['validating', 'failed']);
    expect(batch).toMatchObject({ failed_at: expect.any(Number), output_file_id: null, error_file_id: null });
    expect(batch.errors?.object).toBe('list');
    expect(batch.errors?.data.map(({ code, line, param }) => [code, line, param])).toEqual(found);
    expect(batch.errors?.data.every(({ message }) => message !== '')).toBe(true);
  });

  test('bytes that are not UTF-8 fail the batch, and so does a file that was deleted', async () => {
    const api = await startBatchApi({ steps: { validating: 0 } });
    const data = form(new Blob([Buffer.from(text_of(line('Grüße')), 'latin1')]));
    const { body } = await ask(api, 'POST', '/files', data);
    const order = { input_file_id: body.id, endpoint: '/v1/chat/completions', completion_window: '24h' };
    const created = await ask(api, 'POST', '/batches', order);
    expect((await ended(api, created.body.id)).batch.errors?.data[0]?.code).toBe('invalid_json_line');
    const deleted = await create(api, many(1));
    await ask(api, 'DELETE', `/files/${api.batches.at(-1)?.input_file_id}`);
    expect((await ended(api, deleted)).batch.errors?.data[0]?.code).toBe('file_not_found');
  });

  test('50,000 are taken, and no more', async () => {
    const api = await startBatchApi({ steps: { validating: 0, in_progress: 0, finalizing: 0 } });
    const { batch } = await ended(api, await create(api, many(50_000)));
    expect(batch.request_counts).toEqual({ total: 50_000, completed: 50_000, failed: 0 });
    const more = await ended(api, await create(api, many(50_001)));
    expect(more.batch.errors?.data[0]?.code).toBe('too_many_tasks');
  });
});
