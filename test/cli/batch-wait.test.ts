// `lanyard batch submit --wait`, `status --watch` and `results`: how a batch's end is waited for, and what is then to be had.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { newFolder, ran, requests, start } from './batch-ran.ts';
import { fault, makeBatch, startStub, type Stub } from './batch-stub.ts';

const DONE = { status: 'completed', request_counts: { total: 2, completed: 2, failed: 0 }, output_file_id: 'file-out' };
const OUTPUT = '{"custom_id":"r1"}\n{"custom_id":"r0"}\n';

describe('waiting', () => {
  /** A batch of two requests that is asked for `turns` times. */
  async function waited(turns: Record<string, unknown>[], args: string[] = [], more = {}, columns?: number) {
    const stub = await startStub();
    stub.turns.set('batch_1', turns);
    stub.files.set('file-out', OUTPUT);
    Object.assign(more, columns === undefined ? {} : { columns });
    const told = await ran(['submit', requests(2), '--url', stub.url, '--wait', ...args], more);
    return { ...told, stub };
  }
  const going = { status: 'in_progress', request_counts: { total: 2, completed: 1, failed: 0 } };

  test('asks less and less often, and ends with 0 when every request is completed', async () => {
    const turns = [...Array.from({ length: 9 }, () => going), DONE];
    const { code, lines, failed, pauses_ms } = await waited(turns);
    expect(code).toBe(0);
    expect(pauses_ms.slice(0, 3)).toEqual([1000, 1500, 2250]);
    expect(pauses_ms.slice(-2)).toEqual([10_000, 10_000]);
    expect(lines[0]).toBe('batch_1');
    expect(lines.join('\n')).toContain('status       completed');
    expect(lines.join('\n')).toContain('requests     2: 2 completed, 0 failed');
    expect(failed).toEqual(['batch_1 validating 0/2', 'batch_1 in_progress 1/2', 'batch_1 completed 2/2']);
  });

  test.each([
    [{ ...DONE, request_counts: { total: 2, completed: 1, failed: 1 } }],
    [
      {
        status: 'failed',
        errors: { object: 'list', data: [{ code: 'empty_file', message: 'It is empty.', line: 1 }] },
      },
    ],
    [{ status: 'expired' }],
    [{ status: 'cancelled' }],
  ])('ends with 1 for %j', async (end) => {
    const { code, lines } = await waited([end]);
    expect(code).toBe(1);
    if (end.status === 'failed') expect(lines.join('\n')).toContain('error       line 1: It is empty. (empty_file)');
  });

  test('writes the results where it is told, and one JSON document for scripts', async () => {
    const out = join(newFolder(), 'out.jsonl');
    const { code, lines } = await waited([DONE], ['--out', out, '--json']);
    expect(code).toBe(0);
    expect(readFileSync(out, 'utf8')).toBe(OUTPUT);
    expect(JSON.parse(lines.join('\n'))).toMatchObject({ id: 'batch_1', status: 'completed' });
  });

  test('draws a bar on a terminal, never as wide as it, and leaves no trace of it', async () => {
    const turn = { status: 'in_progress', request_counts: { total: 2, completed: 0, failed: 1 } };
    const { drawn, failed } = await waited([turn, DONE], [], {}, 60);
    expect(failed).toEqual([]);
    const bars = drawn.filter((text) => text.includes('['));
    expect(bars.join('\n')).toContain('in_progress 1/2 1 failed');
    expect(bars.find((text) => text.includes('in_progress'))).toContain('[xxxxx');
    for (const text of drawn) expect(text.replace('\r\u001B[K', '').length).toBeLessThan(60);
    expect(drawn.at(-1)).toBe('\r\u001B[K');
  });

  test('survives a gateway that is away, busy or started again, and waits as long as it says', async () => {
    const stub = await startStub();
    stub.batches.push(makeBatch('batch_9', 'in_progress'));
    stub.turns.set('batch_9', [{}, {}, { ...DONE }]);
    const busy = fault('server_is_overloaded', 'Busy.');
    const paused = (count: number): void => {
      if (count !== 1) return;
      stub.trouble(/batch_9/, 'reset', { status: 503, body: busy }, { status: 502, body: '<html>' });
      stub.trouble(/batch_9/, { status: 429, headers: { 'retry-after': '33' }, body: busy });
      stub.trouble(/batch_9/, { status: 429, headers: { 'retry-after-ms': '20500' }, body: busy });
    };
    const { code, failed, pauses_ms } = await ran(['status', 'batch_9', '--watch', '--url', stub.url], { paused });
    expect(code).toBe(0);
    expect(pauses_ms.slice(4, 7)).toEqual([33_000, 20_500, 10_000]);
    expect(failed.filter((line) => line.includes('asking again'))).toHaveLength(1);
  });

  test('gives up after ten minutes of silence, and says how to go on', async () => {
    const stub = await startStub();
    stub.batches.push(makeBatch('batch_9', 'in_progress'));
    const paused = (count: number): Promise<void> | undefined => (count === 1 ? stub.stop() : undefined);
    const { code, failed, pauses_ms } = await ran(['status', 'batch_9', '--watch', '--url', stub.url], { paused });
    expect(code).toBe(1);
    expect(pauses_ms.reduce((sum, ms) => sum + ms)).toBeGreaterThan(600_000);
    expect(failed.join('\n')).toContain(`npx lanyard batch status batch_9 --watch --url ${stub.url}`);
    expect(failed.join('\n')).toContain('ECONNREFUSED');
  });

  test('what waiting does not change ends it', async () => {
    const stub = await startStub();
    stub.batches.push(makeBatch('batch_9', 'in_progress'));
    const paused = (): void => void stub.batches.splice(0);
    expect(await ran(['status', 'batch_9', '--watch', '--url', stub.url], { paused })).toMatchObject({
      code: 1,
      failed: ['batch_9 in_progress 0/10', 'lanyard batch: No such batch: batch_9 (batch_not_found)'],
    });
  });

  test('Ctrl-C ends the waiting only: status 130, and how to look again', async () => {
    const stub = await startStub();
    stub.batches.push(makeBatch('batch_9', 'in_progress'));
    const watching = start(['batch', 'status', 'batch_9', '--watch', '--url', stub.url]);
    await stub.until(/batch_9/, 2);
    watching.child.kill('SIGINT');
    const { code, stderr } = await watching.ended;
    expect(code).toBe(130);
    expect(stderr).toContain(
      `The batch goes on. To look at it again: npx lanyard batch status batch_9 --watch --url ${stub.url}`,
    );
    expect(stub.asked.some(({ what }) => what.includes('cancel'))).toBe(false);
  });
});

describe('results', () => {
  async function withFiles(status: string, more: Record<string, unknown> = {}): Promise<Stub> {
    const stub = await startStub();
    stub.batches.push(makeBatch('batch_1', status, more));
    stub.files.set('file-out', OUTPUT).set('file-bad', '{"custom_id":"r2"}\n');
    return stub;
  }

  test('go to standard output as they are, or into a file that is whole or not there', async () => {
    const stub = await withFiles('completed', { output_file_id: 'file-out', error_file_id: 'file-bad' });
    const base = ['results', 'batch_1', '--url', stub.url];
    expect(await ran(base)).toMatchObject({ code: 0, poured: OUTPUT, lines: [], failed: [] });
    expect(await ran([...base, '--errors'])).toMatchObject({ code: 0, poured: '{"custom_id":"r2"}\n' });
    const dir = newFolder();
    const out = join(dir, 'out.jsonl');
    expect(await ran([...base, '--out', out])).toMatchObject({ code: 0, poured: '' });
    expect(readFileSync(out, 'utf8')).toBe(OUTPUT);
    stub.trouble(/content/, { status: 200, headers: { 'content-length': '999' }, body: '{"half' });
    setImmediate(() => void stub.until(/content/, 4).then(() => stub.stop()));
    const broken = await ran([...base, '--out', join(dir, 'broken.jsonl')]);
    expect(broken.code).toBe(1);
    expect(broken.failed[0]).toContain('the file broke off');
    expect(readdirSync(dir)).toEqual(['out.jsonl']);
    expect(existsSync(join(dir, 'broken.jsonl'))).toBe(false);
  });

  test.each([
    ['in_progress', {}, [], 'is in_progress, 0/10: wait for its end with lanyard batch status batch_1 --watch'],
    ['completed', {}, [], 'is completed, and none of its requests was answered: --errors shows why'],
    ['completed', {}, ['--errors'], 'is completed, and none of its requests failed: there is no file of errors'],
    ['completed', { output_file_id: '' }, [], 'is completed, and none of its requests was answered'],
    [
      'failed',
      { errors: { object: 'list', data: [{ code: 'duplicate_custom_id', message: 'Twice.', line: 7 }] } },
      [],
      'is failed, and nothing of it was answered: line 7: Twice. (duplicate_custom_id)',
    ],
  ])('say why there are none: %s %j %j', async (status, more, args, why) => {
    const stub = await withFiles(status, more);
    const { code, failed, poured } = await ran(['results', 'batch_1', '--url', stub.url, ...args]);
    expect([code, poured]).toEqual([1, '']);
    expect(failed[0]).toContain(`lanyard batch: batch_1 ${why}`);
  });

  test('a reader that leaves early is no failure', async () => {
    const stub = await withFiles('completed', { output_file_id: 'file-out' });
    const stdout = new Writable({
      write: (_bytes, _encoding, done) => done(Object.assign(new Error('write EPIPE'), { code: 'EPIPE' })),
    });
    stdout.on('error', () => undefined);
    expect(await ran(['results', 'batch_1', '--url', stub.url], { stdout })).toMatchObject({ code: 0, failed: [] });
  });
});
