// `lanyard monitor` without a terminal: what it prints once, and what it does not understand.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { countsOf, STATUSES } from '../../src/cli/batch/record.ts';
import { monitor } from '../../src/cli/monitor.ts';
import { KEY, newFolder } from './batch-ran.ts';
import { fault, makeBatch, startStub } from './batch-stub.ts';

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));

describe('once', () => {
  async function ran(args: string[], env: Record<string, string> = { LANYARD_KEY: KEY }, is_terminal = false) {
    const [lines, failed]: [string[], string[]] = [[], []];
    const out = (line: string): void => void lines.push(line);
    const around = { dir: newFolder(), fail: (line: string): void => void failed.push(line), is_terminal };
    const code = await monitor(args, out, env, around);
    return { code, lines, failed };
  }

  test('prints the table as plain text', async () => {
    const stub = await startStub({ key: KEY });
    const owner = { owner: 'alice' };
    stub.batches.push(makeBatch('batch_2', 'validating', owner), makeBatch('batch_1', 'completed', owner));
    const { code, lines, failed } = await ran(['--once', '--all', '--url', stub.url]);
    expect([code, failed]).toEqual([0, []]);
    expect(lines.map((line) => line.replace(/\d+d/, '9d'))).toEqual([
      'ID       STATUS      PROGRESS                        DONE  AGE  MODEL, ENDPOINT              OWNER',
      expect.stringMatching(/^batch_2 {2}validating {2}░{30} {2}0\/10 +\S+ {2}qwen-coder chat\/completions {2}alice$/),
      expect.stringMatching(/^batch_1 {2}completed {3}░{30} {2}0\/10 +\S+ {2}qwen-coder chat\/completions {2}alice$/),
      '',
      '2 batches, 1 validating, 1 completed',
    ]);
    expect(stub.asked[0]).toMatchObject({ what: 'GET /v1/batches?all=true&limit=100', key: KEY });
  });

  test('prints one document for scripts, with as many batches as it goes through', async () => {
    const stub = await startStub();
    for (let at = 0; at < 130; at += 1)
      stub.batches.push(makeBatch(`batch_${at}`, at % 2 === 0 ? 'completed' : 'failed'));
    const { code, lines } = await ran(['--once', '--json', '--url', stub.url], {});
    expect(code).toBe(0);
    const told = JSON.parse(lines.join('\n')) as { batches: unknown[]; counts: Record<string, number> };
    expect(told.batches).toEqual(stub.batches);
    expect(told.counts).toEqual({ ...countsOf([]), completed: 65, failed: 65 });
    expect(Object.keys(told.counts)).toEqual([...STATUSES]);
  });

  test('says that there are none', async () => {
    const stub = await startStub();
    expect(await ran(['--once', '--url', stub.url])).toEqual({ code: 0, lines: ['0 batches'], failed: [] });
  });

  test('a refusal is told and ends with 1', async () => {
    const stub = await startStub();
    stub.trouble(/batches/, { status: 403, body: fault('not_allowed', 'Only the master key may list all.') });
    expect(await ran(['--once', '--all', '--url', stub.url])).toEqual({
      code: 1,
      lines: [],
      failed: ['lanyard monitor: Only the master key may list all. (not_allowed)'],
    });
  });

  test.each([
    [['--json'], '--json needs --once'],
    [['--every', '2'], '--every wants a time such as 500ms, 2s or 1m'],
    [['--every', '10ms'], '--every wants a time'],
    [['--every', '2h'], '--every wants a time'],
    [['all'], "Unexpected argument 'all'"],
    [['--watch'], "Unknown option '--watch'"],
  ])('does not understand %j', async (args, why) => {
    const { code, lines, failed } = await ran(args, {}, true);
    expect([code, lines]).toEqual([2, []]);
    expect(failed.join('\n')).toContain(`lanyard monitor: ${why}`);
    expect(failed.join('\n')).toContain('usage: lanyard monitor');
  });

  test('what is no terminal is told, with what to do instead', async () => {
    expect(await ran([])).toEqual({
      code: 2,
      lines: [],
      failed: ['lanyard monitor: this is no terminal; --once prints the batches once, and --once --json for scripts'],
    });
  });

  test('explains itself', async () => {
    const { code, lines } = await ran(['--help']);
    expect(code).toBe(0);
    for (const word of ['--every', '--once', '--all', '--url', 'pgdown']) expect(lines.join('\n')).toContain(word);
  });
});

test('no other command loads what draws the monitor', () => {
  const refuse = `import { registerHooks } from 'node:module';
    registerHooks({ resolve(name, context, next) {
      if (/^(ink|react)/.test(name)) throw new Error('loaded ' + name);
      return next(name, context);
    } });`;
  const options = ['--import', `data:text/javascript,${encodeURIComponent(refuse)}`];
  for (const args of [['help'], ['monitor', '--help'], ['batch', '--help'], ['key', 'alice']]) {
    const { status, stderr } = spawnSync(process.execPath, [...options, MAIN, ...args], { encoding: 'utf8' });
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  }
});
