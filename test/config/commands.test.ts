// `lanyard key` and `lanyard check`, run as functions.
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { check } from '../../src/cli/check.ts';
import { key } from '../../src/cli/key.ts';
import { weakness } from '../../src/config/keys.ts';
import { parseConfig } from '../../src/config/load.ts';

describe('lanyard key', () => {
  test('prints a new strong key once, and lines that make the gateway know it', () => {
    const lines: string[] = [];
    expect(key(['alice'], (line) => lines.push(line))).toBe(0);
    const [made = '', ...others] = lines;
    expect(made).toMatch(/^sk-lanyard-[A-Za-z0-9_-]{43}$/);
    expect(weakness(made)).toBeUndefined();
    expect(others.join('\n')).not.toContain(made);
    const config = parseConfig(others.join('\n'), 'f.yaml', {});
    expect(config.keys).toMatchObject([{ name: 'alice', digest: createHash('sha256').update(made).digest() }]);
  });

  test('makes another one each time', () => {
    const made = Array.from({ length: 20 }, () => {
      const lines: string[] = [];
      key(['ci'], (line) => lines.push(line));
      return lines[0];
    });
    expect(new Set(made).size).toBe(20);
  });

  test.each(['1.10', 'true', 'null', '0x10', 'a'.repeat(64)])('prints lines that load for the name %s', (name) => {
    const lines: string[] = [];
    expect(key([name], (line) => lines.push(line))).toBe(0);
    expect(parseConfig(lines.slice(1).join('\n'), 'f.yaml', {}).keys[0]?.name).toBe(name);
  });

  test.each([
    [[]],
    [['--help']],
    [['a', 'b']],
    [['master']],
    [['open']],
    [['a b']],
    [['é']],
    [['']],
    [['a'.repeat(65)]],
    [['sk-abc']],
  ])('refuses %j with exit code 2, on standard error', (argv) => {
    const [out, fail]: [string[], string[]] = [[], []];
    const code = key(
      argv,
      (line) => out.push(line),
      (line) => fail.push(line),
    );
    expect([code, out, fail.length]).toEqual([2, [], 1]);
    expect(fail[0]).toMatch(/^(usage: lanyard key NAME|lanyard key: the name must be 1 to 64)/);
  });
});

describe('lanyard check', () => {
  let dir = '';
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'lanyard-check-'));
  });
  afterEach(() => {
    rmSync(dir, { recursive: true });
  });

  async function checked(text: string, env: Record<string, string> = {}): Promise<{ code: number; lines: string[] }> {
    const [path, lines]: [string, string[]] = [join(dir, 'l.yaml'), []];
    writeFileSync(path, text);
    const code = await check(['--config', path], (line) => lines.push(line.replace(path, 'l.yaml')), env, dir);
    return { code, lines };
  }

  test('says ok and what an empty configuration means', async () => {
    expect(await checked('')).toEqual({
      code: 0,
      lines: [
        'l.yaml: ok',
        '  listen    127.0.0.1:4000',
        '  keys      0; no master key yet: one is made at the start',
        "  backends  looked for on this machine's usual ports",
        '  models    every model found, under its own name',
        '  limits    10/s, burst 20, 100 at once by address',
        '  redis     none: limits live in this process',
        '  batches   none',
        '  cache     none',
      ],
    });
  });

  test('says what a full configuration means, and no secret of it', async () => {
    const secret = 'Zx9Qw8Er7Ty6Ui5Op4As3Df2Gh1Jk0';
    const { code, lines } = await checked(
      `listen: [{ port: 1, host: "::1", auth: open }]\nlimits: { ip: off }\nredis: { url: "redis://:${secret}@h", gateways: 2, fail: closed }\nbackends: { d: { url: "http://h", key: ${secret}, engine: vllm } }\nmodels: { ${Array.from({ length: 9 }, (_, i) => `m${i}: [d/x]`).join(', ')} }`,
      { LITELLM_MASTER_KEY: secret },
    );
    expect(code).toBe(0);
    expect(lines.slice(1)).toEqual([
      '  listen    [::1]:1 (open: no key asked)',
      '  keys      1: master',
      '  backends  1: d (vllm)',
      '  models    9: m0, m1, m2, m3, m4, m5, m6, m7, …',
      '  limits    none by address',
      '  redis     shared by 2, fail: closed',
      '  batches   none',
      '  cache     none',
    ]);
  });

  test('reads .env as a start would', async () => {
    writeFileSync(join(dir, '.env'), 'LEVEL=DEBUG\nLITELLM_MASTER_KEY=sk-1234\n');
    expect(await checked('log: { level: "${LEVEL}" }')).toEqual({
      code: 1,
      lines: [expect.stringContaining('LITELLM_MASTER_KEY (also read from .env) is an example')],
    });
  });

  test('prints every fault and nothing else, with exit code 1', async () => {
    expect(await checked('a: 1\nb: 2\n')).toEqual({
      code: 1,
      lines: [
        expect.stringMatching(/^l\.yaml:1:1 unknown key "a"; Allowed here: listen/),
        expect.stringMatching(/^l\.yaml:2:1 unknown key "b"; Allowed here: listen/),
      ],
    });
  });

  test('tells a file that is not there, and a --config without a path', async () => {
    const lines: string[] = [];
    expect(await check([], (line) => lines.push(line), { LANYARD_CONFIG: join(dir, 'none.yaml') }, dir)).toBe(1);
    expect(await check(['--config'], (line) => lines.push(line), {}, dir)).toBe(1);
    expect(lines).toEqual([
      expect.stringContaining('none.yaml: there is no such file'),
      '--config needs a path: --config config/lanyard.yaml',
    ]);
  });
});
