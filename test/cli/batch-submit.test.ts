// `lanyard batch submit`: what is sent, what is refused before, and how little of it is held.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, ftruncateSync, openSync, readFileSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { KEY, newFolder, of, ran, requests, run } from './batch-ran.ts';
import { fault, startStub } from './batch-stub.ts';

describe('submit', () => {
  test('sends the file, guesses the endpoint from its first line and prints the id', async () => {
    const stub = await startStub({ key: KEY });
    const file = requests(3, '/v1/embeddings');
    const { code, lines, failed } = await ran(['submit', file, '--url', stub.url, '--metadata', 'a=b=c']);
    expect({ code, lines, failed }).toEqual({ code: 0, lines: ['batch_1'], failed: [] });
    expect(stub.files.get('file-1')).toBe(readFileSync(file, 'utf8'));
    const [, upload, create] = stub.asked;
    expect(upload?.body).toContain('name="purpose"\r\n\r\nbatch\r\n');
    expect(upload?.body).toContain('filename="requests.jsonl"');
    expect(Number(upload?.headers['content-length'])).toBe(upload?.bytes);
    expect(JSON.parse(create?.body ?? '')).toEqual({
      input_file_id: 'file-1',
      endpoint: '/v1/embeddings',
      completion_window: '24h',
      metadata: { a: 'b=c' },
    });
  });

  test('takes standard input, in whatever pieces it comes, and what it is told', async () => {
    const stub = await startStub();
    const stdin = of('{"custom_id":"a",', '"url":"/v1/completions"}', '\n{"custom_id":"b"}\n');
    const { code, lines } = await ran(['submit', '-', '--url', stub.url, '--window', '1h', '--json'], { stdin });
    expect(code).toBe(0);
    expect(JSON.parse(lines.join('\n'))).toMatchObject({
      id: 'batch_1',
      endpoint: '/v1/completions',
      completion_window: '1h',
      request_counts: { total: 2 },
    });
    expect(JSON.parse(lines.join('\n'))).not.toHaveProperty('batch');
    expect(stub.files.get('file-1')).toBe('{"custom_id":"a","url":"/v1/completions"}\n{"custom_id":"b"}\n');
  });

  test('takes a named pipe', async () => {
    const stub = await startStub();
    const pipe = join(newFolder(), 'pipe');
    const writer = spawn('sh', ['-c', 'mkfifo "$1" && echo there && cat "$0" > "$1"', requests(5), pipe]);
    const written = once(writer, 'close');
    await once(writer.stdout, 'data');
    expect((await ran(['submit', pipe, '--url', stub.url])).code).toBe(0);
    await written;
    expect(stub.files.get('file-1')?.split('\n')).toHaveLength(6);
  });

  test.each([
    ['nothing', '', 'is empty'],
    ['no JSON', 'hello\n', 'is no JSON object with a "url"'],
    ['no url', '{"custom_id":"a"}\n', '--endpoint says what answers'],
  ])('a file of %s is told before anything is sent', async (_, text, why) => {
    const stub = await startStub();
    const file = join(newFolder(), 'x.jsonl');
    writeFileSync(file, text);
    const { code, failed } = await ran(['submit', file, '--url', stub.url]);
    expect(code).toBe(1);
    expect(failed.join('\n')).toContain(why);
    expect(stub.asked).toEqual([]);
  });

  test.each([
    ['/nowhere/x.jsonl', 'lanyard batch: /nowhere/x.jsonl is not there'],
    ['/etc', 'lanyard batch: /etc is a directory'],
  ])('a file that cannot be read is told: %s', async (file, why) => {
    expect(await ran(['submit', file, '--url', 'http://127.0.0.1:2'])).toMatchObject({ code: 1, failed: [why] });
  });

  test('a place for the results that is none is told before hours are spent', async () => {
    const stub = await startStub();
    const args = ['submit', requests(1), '--url', stub.url, '--wait', '--out', '/nowhere/out.jsonl'];
    expect(await ran(args)).toMatchObject({ code: 1, failed: ['lanyard batch: /nowhere is not there'] });
    expect(stub.asked).toEqual([]);
  });

  test('a wrong key is told before the file is sent', async () => {
    const stub = await startStub({ key: 'sk-another' });
    const { code, failed } = await ran(['submit', requests(1), '--url', stub.url]);
    expect(code).toBe(1);
    expect(failed).toEqual(['lanyard batch: The API key is not valid. (invalid_api_key)']);
    expect(stub.asked.map(({ what }) => what)).toEqual(['GET /v1/batches?limit=1']);
  });

  test('a batch that is refused leaves no file behind; a busy gateway is asked again as it says', async () => {
    const stub = await startStub();
    const busy = { status: 429, headers: { 'retry-after': '7' }, body: fault('rate_limit_exceeded', 'Too many.') };
    stub.trouble(/^POST .*batches/, busy, { status: 400, body: fault('invalid_value', 'No such window.') });
    const { code, failed, pauses_ms } = await ran(['submit', requests(1), '--url', stub.url]);
    expect({ code, failed, pauses_ms }).toEqual({
      code: 1,
      failed: ['lanyard batch: No such window. (invalid_value)'],
      pauses_ms: [7000],
    });
    expect([...stub.files]).toEqual([]);
  });

  test('a file that is not welcome is not sent; one that is changed meanwhile is not stored', async () => {
    const stub = await startStub();
    stub.unwelcome = { status: 413, body: fault('request_too_large', 'Too large.') };
    const file = requests(1);
    expect(await ran(['submit', file, '--url', stub.url])).toMatchObject({
      code: 1,
      failed: ['lanyard batch: Too large. (request_too_large)'],
    });
    expect(stub.asked.at(-1)).toMatchObject({ what: 'POST /v1/files', bytes: 0 });
    delete stub.unwelcome;
    // It shrinks after its first line was read, and before the rest is asked for.
    writeFileSync(file, `{"url":"/v1/chat/completions"}\n${'x'.repeat(3 << 20)}`);
    const sending = ran(['submit', file, '--url', stub.url]);
    await stub.until(/GET .*batches/, 2);
    truncateSync(file, 1 << 20);
    expect(await sending).toMatchObject({
      code: 1,
      failed: ['lanyard batch: requests.jsonl was changed while it was sent'],
    });
    expect([...stub.files]).toEqual([]);
  });

  test('a server that refuses in the middle of a file is heard', async () => {
    const stub = await startStub();
    stub.trouble(/POST .*files/, { early: true, status: 507, body: fault('insufficient_storage', 'No room.') });
    const file = requests(1);
    writeFileSync(file, `{"url":"/v1/chat/completions"}\n${'x'.repeat(3 << 20)}`);
    const { code, failed } = await ran(['submit', file, '--url', stub.url]);
    expect({ code, failed }).toEqual({ code: 1, failed: ['lanyard batch: No room. (insufficient_storage)'] });
  });

  test('200 MB are sent without being held', async () => {
    const stub = await startStub();
    const path = join(newFolder(), 'big.jsonl');
    const fd = openSync(path, 'w');
    writeSync(fd, '{"custom_id":"a","url":"/v1/chat/completions"}\n');
    ftruncateSync(fd, 200e6);
    closeSync(fd);
    const hook = 'process.on("exit",()=>process.stderr.write(`peak ${process.resourceUsage().maxRSS}`))';
    const options = ['--import', `data:text/javascript,${encodeURIComponent(hook)}`];
    const peak = async (...args: string[]): Promise<number> => {
      const { code, stderr } = await run(['batch', ...args, '--url', stub.url], options);
      expect(code).toBe(0);
      return Number(/peak (\d+)/.exec(stderr)?.[1]) * 1024;
    };
    const least = await peak('list');
    expect((await peak('submit', path)) - least).toBeLessThan(130e6);
    expect(stub.asked[2]?.bytes).toBeGreaterThan(200e6);
  });
});
