// OpenAI's own client takes the fake Batch API for the original.
import { createReadStream } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import OpenAI, { APIConnectionError, AuthenticationError, ConflictError, NotFoundError, toFile } from 'openai';
import { describe, expect, onTestFinished, test } from 'vitest';
import { type BatchApi, startBatchApi } from './batch-api.ts';
import { many, ask, create } from './batch-api/ask.ts';

describe("OpenAI's own client", () => {
  const client = (api: BatchApi, apiKey = 'sk-upstream-test'): OpenAI =>
    new OpenAI({ apiKey, baseURL: `${api.url}/v1`, maxRetries: 0 });

  test('makes the whole round', async () => {
    const api = await startBatchApi();
    const openai = client(api);
    const home = await mkdtemp(join(tmpdir(), 'batch-api-test-'));
    onTestFinished(() => rm(home, { recursive: true }));
    const path = join(home, 'requests.jsonl');
    await writeFile(path, many(20));
    const file = await openai.files.create({
      file: createReadStream(path),
      purpose: 'batch',
      expires_after: { anchor: 'created_at', seconds: 86_400 },
    });
    expect((await openai.files.waitForProcessing(file.id)).status).toBe('processed');
    const made = await openai.batches.create({
      input_file_id: file.id,
      endpoint: '/v1/chat/completions',
      completion_window: '24h',
      metadata: { window: 'w1' },
      output_expires_after: { anchor: 'created_at', seconds: 3600 },
    });
    expect(made.status).toBe('validating');
    let batch = made;
    while (batch.status !== 'completed') batch = await openai.batches.retrieve(made.id);
    const output = await openai.files.retrieve(batch.output_file_id ?? '');
    expect(output).toMatchObject({ purpose: 'batch_output', filename: `${made.id}_output.jsonl` });
    expect((output.expires_at ?? 0) - output.created_at).toBe(3600);
    const content = await (await openai.files.content(output.id)).text();
    expect(Buffer.byteLength(content)).toBe(output.bytes);
    expect(content.trimEnd().split('\n')).toEqual(api.lines(output.id));
    expect(api.lines(file.id)).toEqual(many(20).trimEnd().split('\n'));
    expect(await openai.files.delete(file.id)).toEqual({ id: file.id, object: 'file', deleted: true });
    expect(await Array.fromAsync(openai.files.list())).toHaveLength(1);
    expect(api.batches).toMatchObject([
      { id: made.id, line_count: 20, model: 'gpt-4o-mini', metadata: { window: 'w1' } },
    ]);
    expect(api.authorizations).toEqual(new Set(['Bearer sk-upstream-test']));
  });

  test('lists batches and files by the page', async () => {
    const api = await startBatchApi();
    const openai = client(api);
    for (let count = 0; count < 5; count += 1) await create(api, many(1));
    const made = api.batches.map(({ id }) => id);
    const listed = await Array.fromAsync(openai.batches.list({ limit: 2 }));
    expect(listed.map(({ id }) => id)).toEqual(made.toReversed());
    expect(api.requests.list).toBe(3);
    const page = await ask(api, 'GET', `/batches?limit=2&after=${made[2]}`);
    expect(page.body).toMatchObject({ object: 'list', first_id: made[1], last_id: made[0], has_more: false });
    const files = await Array.fromAsync(openai.files.list({ purpose: 'batch', order: 'asc', limit: 2 }));
    expect(files.map(({ id }) => id)).toEqual(api.uploads.map(({ id }) => id));
    expect(await Array.fromAsync(openai.files.list({ purpose: 'batch_output' }))).toEqual([]);
    for (const query of [
      'limit=0',
      'limit=101',
      'limit=x',
      'after=batch_none',
      'status=completed',
      'limit=1&limit=2',
    ]) {
      expect((await ask(api, 'GET', `/batches?${query}`)).status).toBe(400);
    }
  });

  test('cancels, and has the errors of its kinds', async () => {
    const api = await startBatchApi();
    const openai = client(api);
    const file = await openai.files.create({ file: await toFile(Buffer.from(many(2)), 'x.jsonl'), purpose: 'batch' });
    const order = { input_file_id: file.id, endpoint: '/v1/chat/completions', completion_window: '24h' } as const;
    const { id } = await openai.batches.create(order);
    expect((await openai.batches.cancel(id)).status).toBe('cancelling');
    expect((await api.finish(id, 'completed')).status).toBe('cancelled');
    await expect(openai.batches.cancel(id)).rejects.toThrow(ConflictError);
    await expect(openai.batches.retrieve('batch_none')).rejects.toThrow(NotFoundError);
    await expect(openai.files.content('file-none')).rejects.toThrow(NotFoundError);
    await expect(client(api, 'sk-other').batches.list()).rejects.toThrow(AuthenticationError);
    expect(api.authorizations).toContain('Bearer sk-other');
    await api.stop();
    await expect(openai.batches.list()).rejects.toThrow(APIConnectionError);
  });

  test('asks directly too, and this is counted by itself', async () => {
    const api = await startBatchApi({
      answer: ({ body }) => (body['seed'] === 7 ? { status: 418, body: {} } : undefined),
    });
    const openai = client(api);
    expect((await Array.fromAsync(openai.models.list())).map(({ id }) => id)).toContain('gpt-4o-mini');
    const messages = [{ role: 'user', content: [{ type: 'text', text: 'marker' }] }] as const;
    const asked = {
      model: 'gpt-4o-mini',
      messages: [...messages].map((each) => ({ ...each, content: [...each.content] })),
    };
    const said = await openai.chat.completions.create(asked);
    expect(said.choices[0]?.message.content).toBe('echo: marker');
    await expect(openai.chat.completions.create({ ...asked, seed: 7 })).rejects.toThrow('418');
    await expect(openai.chat.completions.create({ ...asked, model: 'gpt-2' })).rejects.toThrow(NotFoundError);
    const { data } = await openai.embeddings.create({ model: 'text-embedding-3-small', input: ['a', 'b'] });
    expect(data.map(({ embedding }) => embedding.length)).toEqual([16, 16]);
    expect(api.directs.map(({ endpoint }) => endpoint)).toEqual([
      '/v1/chat/completions',
      '/v1/chat/completions',
      '/v1/embeddings',
    ]);
    expect(JSON.parse(api.directs[0]?.raw ?? '')).toEqual(asked);
    expect([api.uploads, api.batches]).toEqual([[], []]);
  });
});
