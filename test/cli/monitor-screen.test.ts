// `lanyard monitor` on a real terminal: keys are typed, and the screen is read as a person would.
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { freePort } from '../stage/ports.ts';
import { KEY, newFolder } from './batch-ran.ts';
import { fault, makeBatch, startStub, type Stub } from './batch-stub.ts';
import { NO_TERMINAL, onTerminal, type Terminal } from './monitor-terminal.ts';

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));

interface Options {
  readonly rows?: number;
  readonly columns?: number;
  readonly env?: Readonly<Record<string, string>>;
}

function monitoring(url: string, args: readonly string[] = [], options: Options = {}): Terminal {
  const env = { LANYARD_KEY: KEY, ...options.env };
  return onTerminal([process.execPath, MAIN, 'monitor', '--url', url, ...args], { ...options, env, cwd: newFolder() });
}

/** Six of them, of three states. */
async function staged(): Promise<Stub> {
  const stub = await startStub({ key: KEY });
  const created_at = Math.floor(Date.now() / 1000) - 3600;
  for (const [at, status] of [
    'in_progress',
    'in_progress',
    'failed',
    'completed',
    'completed',
    'completed',
  ].entries()) {
    const request_counts = { total: 100, completed: at * 10, failed: at === 2 ? 5 : 0 };
    stub.batches.push(makeBatch(`batch_${6 - at}`, status, { request_counts, created_at, owner: `user${at}` }));
  }
  return stub;
}

describe.skipIf(NO_TERMINAL !== '')(`the monitor${NO_TERMINAL}`, () => {
  test('tabs, rows and details are reached by keys, and the terminal is as it was after q', async () => {
    const stub = await staged();
    const terminal = monitoring(stub.url, ['--every', '1h']);
    const first = await terminal.shows('> batch_6');
    expect(terminal.state()).toEqual({ alternate: true, hidden: true });
    expect(first.join('\n')).toContain('[all 6]');
    expect(first.join('\n')).toContain('in_progress 2');
    expect(first.find((line) => line.includes('batch_4'))).toMatch(/failed +█xx?░+ +25\/100 +5 +1h +qwen-coder/);
    terminal.type('jj');
    await terminal.shows('> batch_4');
    terminal.type('\u001B[A');
    await terminal.shows('> batch_5');
    terminal.type('\t');
    await terminal.shows('No batch is validating.');
    terminal.type('l\u001B[C\u001B[C');
    const completed = await terminal.shows('[completed 3]');
    expect(completed.filter((line) => line.includes('batch_'))).toHaveLength(3);
    terminal.type('G');
    await terminal.shows('> batch_1');
    terminal.type('\r');
    const details = await terminal.shows('batch 3 of 3');
    expect(details.join('\n')).toMatch(/requests +100: 50 completed, 0 failed/);
    expect(details.join('\n')).toMatch(/input file +file-in/);
    terminal.type('\r');
    await terminal.shows('> batch_1');
    expect(stub.asked).toHaveLength(1);
    terminal.type('q');
    expect(await terminal.ended).toEqual({ status: 0, restored: true });
    expect(terminal.state()).toEqual({ alternate: false, hidden: false });
    expect(terminal.screen().join('')).toBe('');
  });

  test('looks again by itself', async () => {
    const stub = await staged();
    const terminal = monitoring(stub.url, ['--every', '200ms']);
    await terminal.shows('in_progress 2');
    stub.batches.unshift(makeBatch('batch_7', 'validating'));
    Object.assign(stub.batches[1] ?? {}, { status: 'completed' });
    const seen = await terminal.shows('validating 1');
    expect(seen.join('\n')).toContain('[all 7]');
    expect(seen.join('\n')).toContain('completed 4');
    // The chosen one is still chosen.
    expect(seen.join('\n')).toMatch(/ {2}batch_7.*\n> batch_6/);
    terminal.type('\u0003');
    expect(await terminal.ended).toEqual({ status: 0, restored: true });
  });

  test('looks at once for r; what fails is told, and what was seen stays', async () => {
    const stub = await staged();
    const terminal = monitoring(stub.url, ['--every', '1h', '--all'], { columns: 110 });
    expect((await terminal.shows('> batch_6')).join('\n')).toMatch(/OWNER\n> batch_6 .* user0\n/);
    stub.trouble(/batches/, { status: 503, body: fault('server_is_overloaded', 'Too busy.') }, 'reset');
    terminal.type('r');
    const failed = await terminal.shows('Too busy. (server_is_overloaded)');
    expect(failed.join('\n')).toMatch(/! not refreshed for \d+s: Too busy/);
    expect(failed.join('\n')).toContain('batch_6');
    terminal.type('r');
    await terminal.shows('UND_ERR_SOCKET');
    stub.batches.splice(0, 5);
    terminal.type('r');
    const well = await terminal.shows('[all 1]');
    expect(well.join('\n')).not.toContain('not refreshed');
    expect(stub.asked).toHaveLength(4);
    terminal.type('\u001B');
    expect(await terminal.ended).toEqual({ status: 0, restored: true });
  });

  test('fits whatever window it gets', async () => {
    const stub = await staged();
    const terminal = monitoring(stub.url, ['--every', '1h'], { rows: 8, columns: 30 });
    const small = await terminal.shows('> batch_6');
    expect(small.join('\n')).toContain('[all 6]');
    for (const line of small) expect(line.length).toBeLessThanOrEqual(30);
    terminal.resize(30, 120);
    const large = await terminal.until(
      (lines) => lines[28]?.startsWith('q quit') === true && lines.join('\n').includes('MODEL, ENDPOINT'),
    );
    expect(large.filter((line) => line.includes('Lanyard batches'))).toHaveLength(1);
    terminal.resize(6, 40);
    // A frame may come in two pieces: what is looked at is a whole one.
    const low = await terminal.until(
      (lines) => lines[4]?.startsWith('q quit') === true && lines.join('\n').includes('> batch_6'),
    );
    expect(low.filter((line) => line.includes('Lanyard batches'))).toHaveLength(1);
    terminal.type('q');
    expect(await terminal.ended).toEqual({ status: 0, restored: true });
  });

  test.each([
    ['SIGTERM', 15],
    ['SIGINT', 2],
    ['SIGHUP', 1],
  ])('leaves the terminal as it was on %s', async (_, number) => {
    const stub = await staged();
    const terminal = monitoring(stub.url, ['--every', '200ms']);
    await terminal.shows('> batch_6');
    terminal.signal(number);
    expect(await terminal.ended).toEqual({ status: -number, restored: true });
    expect(terminal.state()).toEqual({ alternate: false, hidden: false });
  });

  test.each([
    ['NO_COLOR', { NO_COLOR: '1' }],
    ['CI', { CI: 'true' }],
  ])('shows the same with %s', async (_, env) => {
    const stub = await staged();
    const terminal = monitoring(stub.url, [], { env });
    expect((await terminal.shows('> batch_6')).join('\n')).toContain('[all 6]');
    terminal.type('q');
    expect(await terminal.ended).toEqual({ status: 0, restored: true });
  });

  test('a gateway that is not there is told without a screen', async () => {
    const terminal = monitoring(`http://127.0.0.1:${await freePort()}`, [], { columns: 200 });
    expect(await terminal.ended).toEqual({ status: 1, restored: true });
    expect(terminal.state().alternate).toBe(false);
    expect(terminal.screen().join('\n')).toContain('nothing listens there (ECONNREFUSED)');
  });
});
