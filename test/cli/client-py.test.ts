// examples/python/client.py as it is called, through the official SDK against a server with the gateway's shapes.
// `node scripts/setup.ts` puts the SDK into .cache/python; where it could not, the tests are skipped, and say so.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { freePort } from '../stage/ports.ts';
import { fault, makeBatch, startStub, type Stub } from './batch-stub.ts';

const PYTHON = fileURLToPath(new URL('../../.cache/python/bin/python', import.meta.url));
const CLIENT = fileURLToPath(new URL('../../examples/python/client.py', import.meta.url));
const MISSING = existsSync(PYTHON)
  ? ''
  : ' (skipped: no .cache/python; `node scripts/setup.ts` makes it where python3 can)';

const ANSWER = {
  id: 'chatcmpl-1',
  object: 'chat.completion',
  created: 1_790_000_000,
  model: 'gpt-3.5-turbo',
  choices: [{ index: 0, message: { role: 'assistant', content: 'Grüße, 世界 🌍!' }, finish_reason: 'stop' }],
  usage: { prompt_tokens: 3, completion_tokens: 4, total_tokens: 7 },
};

async function run(args: readonly string[], env: Readonly<Record<string, string>>) {
  const child = spawn(PYTHON, [CLIENT, ...args], {
    env: { PATH: process.env['PATH'], TZ: 'UTC', PYTHONIOENCODING: 'utf-8', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const said = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const)
    child[name].setEncoding('utf8').on('data', (text: string) => (said[name] += text));
  const [code] = (await once(child, 'close')) as [number];
  return { code, ...said };
}

describe.skipIf(MISSING !== '')(`examples/python/client.py${MISSING}`, () => {
  const ask = (stub: Stub, ...args: string[]): ReturnType<typeof run> =>
    run(args, { OPENAI_BASE_URL: `${stub.url}/v1` });

  test('--api chat_completions prints the answer, its end and its usage; any key will do', async () => {
    const stub = await startStub();
    stub.chat = { status: 200, body: ANSWER };
    const { code, stdout, stderr } = await ask(stub, '--api', 'chat_completions', '--content', 'Write a joke');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout.split('\n')).toEqual([
      'Role: assistant',
      'Content: Grüße, 世界 🌍!',
      'Finish reason: stop',
      'Prompt tokens: 3',
      'Completion tokens: 4',
      'Total tokens: 7',
      '',
    ]);
    expect(stub.asked[0]?.key).toBe('dummy_openai_api_key');
    expect(JSON.parse(stub.asked[0]?.body ?? '')).toEqual({
      model: 'gpt-3.5-turbo',
      messages: [{ role: 'user', content: 'Write a joke' }],
    });
  });

  test('an answer that is only a batch’s id is told as that', async () => {
    const stub = await startStub();
    stub.chat = { status: 202, body: { id: 'batch_abc', object: 'batch.request', message: 'Request submitted' } };
    const { code, stdout } = await ask(stub, '--api', 'chat_completions', '--content', 'Hello', '--model', 'qwen');
    expect(code).toBe(0);
    expect(stdout).toContain('Submitted as batch batch_abc\n');
    expect(JSON.parse(stub.asked[0]?.body ?? '')).toMatchObject({ model: 'qwen' });
  });

  test('--api status_single_batch and cancel_batch show the batch', async () => {
    const stub = await startStub();
    stub.batches.push(makeBatch('batch_1', 'in_progress'), makeBatch('batch_2', 'completed', { expires_at: null }));
    const args = ['--api', 'status_single_batch', '--batch_id', 'batch_1', '--base-url', `${stub.url}/v1`];
    expect(await run(args, { OPENAI_API_KEY: 'sk-mine' })).toEqual({
      code: 0,
      stdout:
        'Batch: batch_1\nStatus: in_progress\nCreated: 2026-09-21 14:13:20\nExpires: 2026-09-22 14:13:20\n' +
        'Requests: 10 total, 0 completed, 0 failed\n',
      stderr: '',
    });
    expect(stub.asked[0]).toMatchObject({ what: 'GET /v1/batches/batch_1', key: 'sk-mine' });
    const cancelled = await ask(stub, '--api', 'cancel_batch', '--batch_id', 'batch_2');
    expect(cancelled.stdout).toContain('Batch: batch_2\nStatus: cancelling\n');
    expect(cancelled.stdout).toContain('Expires: -\n');
    expect(stub.asked[1]?.what).toBe('POST /v1/batches/batch_2/cancel');
  });

  test.each([
    [[], 130],
    [['--status_filter', 'completed'], 65],
    [['--status_filter', 'not_completed'], 65],
  ])('--api status_all_batches %j goes through all pages', async (filter, count) => {
    const stub = await startStub();
    for (let at = 0; at < 130; at += 1)
      stub.batches.push(makeBatch(`batch_${at}`, at % 2 === 0 ? 'completed' : 'failed'));
    const { code, stdout } = await ask(stub, '--api', 'status_all_batches', ...filter);
    expect(code).toBe(0);
    expect(stdout.match(/^Batch: /gm)).toHaveLength(count);
    expect(stdout).toContain(`\n${count} batches\n`);
    if (filter[1] === 'completed') expect(stdout).not.toContain('Status: failed');
    if (filter[1] === 'not_completed') expect(stdout).not.toContain('Status: completed');
    expect(stub.asked).toHaveLength(2);
  });

  test.each([
    [['--api', 'chat_completions'], '--content is missing'],
    [['--api', 'status_single_batch'], '--batch_id is missing'],
    [['--api', 'cancel_batch'], '--batch_id is missing'],
  ])('%j says what is missing, and ends with 1', async (args, why) => {
    const { code, stdout, stderr } = await run(args, {});
    expect([code, stdout]).toEqual([1, '']);
    expect(stderr).toContain(why);
  });

  test('every refusal is one line and ends with 1', async () => {
    const stub = await startStub();
    const unknown = await ask(stub, '--api', 'status_single_batch', '--batch_id', 'batch_0');
    expect([unknown.code, unknown.stdout]).toEqual([1, '']);
    expect(unknown.stderr).toMatch(/^Error: .*No such batch: batch_0.*\n$/);
    stub.chat = { status: 400, body: fault('model_not_found', 'There is no\nsuch model.') };
    const refused = await ask(stub, '--api', 'chat_completions', '--content', 'Hello');
    expect(refused.code).toBe(1);
    expect(refused.stderr).toMatch(/^Error: .*There is no.*such model\..*\n$/);
    const args = ['--api', 'status_all_batches', '--base-url', `http://127.0.0.1:${await freePort()}/v1`];
    const away = await run(args, {});
    expect(away.code).toBe(1);
    expect(away.stderr).toMatch(/^Error: .+\n$/);
  });
});
