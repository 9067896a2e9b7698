// The four command lines of the original service's documents, as they stand there, through the real batch service. What the
// client prints for which answer: test/cli/client-py.test.ts.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { startBatchApi } from '../engines/batch-api.ts';
import { ended, submit } from '../stage/batches.ts';
import { MISSING, PYTHON } from '../stage/python.ts';
import { openService, type Service } from '../stage/service.ts';

const EXAMPLES = fileURLToPath(new URL('../../examples/python', import.meta.url));

interface Said {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** By a shell, in the client's own folder, with the Python that has the SDK. */
async function run(command: string, url: string): Promise<Said> {
  const child = spawn('sh', ['-c', command], {
    cwd: EXAMPLES,
    env: {
      PATH: `${dirname(PYTHON)}:${process.env['PATH'] ?? ''}`,
      PYTHONIOENCODING: 'utf-8',
      OPENAI_BASE_URL: `${url}/v1`,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const said = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const)
    child[name].setEncoding('utf8').on('data', (text: string) => (said[name] += text));
  const [code] = (await once(child, 'close')) as [number];
  return { code, ...said };
}

const statuses = ({ stdout }: Said): string[] => [...stdout.matchAll(/^Status: (\w+)$/gm)].map(([, one = '']) => one);
const ids = ({ stdout }: Said): string[] => [...stdout.matchAll(/^Batch: (\w+)$/gm)].map(([, one = '']) => one);
const listed = async ({ client }: Service): Promise<string[]> => (await client.batches.list()).data.map(({ id }) => id);

describe.skipIf(MISSING !== '')(`examples/python/client.py before the batch service${MISSING}`, () => {
  test('chats, and shows the batch that it was answered by', async () => {
    const service = await openService(await startBatchApi());
    const chat = await run('python client.py --api chat_completions --content "Write a joke"', service.url);
    expect(chat).toMatchObject({ code: 0, stderr: '' });
    expect(chat.stdout).toMatch(
      /^Role: assistant\nContent: echo: Write a joke\nFinish reason: stop\nPrompt tokens: \d+\nCompletion tokens: \d+\nTotal tokens: \d+\n$/,
    );
    const [id = ''] = await listed(service);
    await ended(service.client, id);
    const command = 'python client.py --api status_single_batch --batch_id batch_123';
    const [one, none] = await Promise.all([
      run(command.replace('batch_123', id), service.url),
      run(command, service.url),
    ]);
    expect(one).toMatchObject({ code: 0, stderr: '' });
    expect(one.stdout).toMatch(
      new RegExp(
        `^Batch: ${id}\nStatus: completed\nCreated: [-\\d :]+\nExpires: [-\\d :]+\nRequests: 1 total, 1 completed, 0 failed\n$`,
      ),
    );
    expect([none.code, none.stdout]).toEqual([1, '']);
    expect(none.stderr).toMatch(/^Error: .*no such batch.*\n$/);
  });

  test('lists all batches, those that are completed and those that are not, and cancels one', async () => {
    const api = await startBatchApi();
    const service = await openService(api);
    const { client, post, url } = service;
    const model = 'gpt-4o-mini';
    const line = (content: string): string =>
      JSON.stringify({
        custom_id: content,
        method: 'POST',
        url: '/v1/chat/completions',
        body: { model, messages: [{ role: 'user', content }] },
      });
    const done = [await submit(client, [line('a')]), await submit(client, [line('b')])];
    for (const { id } of done) expect((await ended(client, id)).status).toBe('completed');
    const failed = await submit(client, ['{']);
    expect((await ended(client, failed.id)).status).toBe('failed');
    api.hold();
    const open = await post({ model, messages: [] }, { 'x-lanyard-mode': 'batch-async' });
    const { id } = (await open.json()) as { id: string };
    await api.until(({ batches }) => batches.length === 3);

    const all = 'python client.py --api status_all_batches';
    const [every, completed, others] = await Promise.all([
      run(all, url),
      run(`${all} --status_filter completed`, url),
      run(`${all} --status_filter not_completed`, url),
    ]);
    expect([every.code, completed.code, others.code]).toEqual([0, 0, 0]);
    expect(ids(every)).toEqual(await listed(service));
    expect(statuses(every)).toEqual(['in_progress', 'failed', 'completed', 'completed']);
    expect(ids(completed)).toEqual(done.map((one) => one.id).toReversed());
    expect(statuses(completed)).toEqual(['completed', 'completed']);
    expect(ids(others)).toEqual([id, failed.id]);
    for (const [said, count] of [
      [every, 4],
      [completed, 2],
      [others, 2],
    ] as const) {
      expect(said.stdout).toMatch(new RegExp(`\n${count} batches\n$`));
    }

    const cancelled = await run(`python client.py --api cancel_batch --batch_id ${id}`, url);
    expect([cancelled.code, ids(cancelled), statuses(cancelled)]).toEqual([0, [id], ['cancelling']]);
    await api.until(({ requests }) => requests.cancel === 1);
    api.release();
    expect((await ended(client, id)).status).toBe('cancelled');
  });

  test('is told the batch in mode async, and finds it', async () => {
    const service = await openService(await startBatchApi(), { env: { CLIENT_SERVING_MODE: 'async' } });
    const { code, stdout } = await run('python client.py --api chat_completions --content "Write a joke"', service.url);
    const [id = ''] = await listed(service);
    expect([code, stdout]).toEqual([
      0,
      `Submitted as batch ${id}\nLook at it with: --api status_single_batch --batch_id ${id}\n`,
    ]);
    await ended(service.client, id);
    const again = await run(`python client.py --api status_single_batch --batch_id ${id}`, service.url);
    expect([again.code, statuses(again)]).toEqual([0, ['completed']]);
  });

  test('ends with 1 where something is missing, and says what', async () => {
    const { url } = await openService(await startBatchApi());
    const [content, batch, api] = await Promise.all(
      ['--api chat_completions', '--api status_single_batch', ''].map((args) => run(`python client.py ${args}`, url)),
    );
    expect([content?.code, batch?.code, content?.stdout, batch?.stdout]).toEqual([1, 1, '', '']);
    expect(content?.stderr).toContain('--content');
    expect(batch?.stderr).toContain('--batch_id');
    expect(api?.code).not.toBe(0);
  });
});
