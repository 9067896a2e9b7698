// `lanyard import`: what it prints, what it refuses, and that no secret of the file leaves it.
import { readFileSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { importConfig } from '../../src/cli/import.ts';
import { importText, load } from './imported.ts';

const FIXTURES = fileURLToPath(new URL('../fixtures/litellm/', import.meta.url));

async function run(argv: string[]): Promise<{ code: number; out: string; fail: string }> {
  const [out, fail]: [string[], string[]] = [[], []];
  const code = await importConfig(argv, { out: (line) => out.push(line), fail: (line) => fail.push(line) });
  return { code, out: out.join('\n'), fail: fail.join('\n') };
}

describe('the command', () => {
  test.each([[[]], [['litellm']], [['litellm', 'a', 'b']], [['litellm', '--config']]])(
    'shows how to use it for %j',
    async (argv) => {
      const { code, out, fail } = await run(argv);
      expect([code, out]).toEqual([2, '']);
      expect(fail).toContain('usage: lanyard import litellm FILE');
    },
  );

  test('shows it on standard output when asked', async () => {
    const { code, out, fail } = await run(['--help']);
    expect([code, fail]).toEqual([0, '']);
    expect(out).toContain('usage: lanyard import litellm FILE');
  });

  test('says what it can import', async () => {
    expect(await run(['olla', 'x.yaml'])).toEqual({
      code: 2,
      out: '',
      fail: 'lanyard import: cannot import "olla"; what it can: litellm',
    });
  });

  test.each([
    ['no-such.yaml', 'no-such.yaml: there is no such file'],
    [FIXTURES, `${FIXTURES}: is a directory; name the file in it`],
  ])('tells why it cannot read %s', async (file, told) => {
    expect(await run(['litellm', file])).toEqual({ code: 1, out: '', fail: told });
  });

  test('prints remarks with their places, in the output and on standard error alike', async () => {
    const { code, out, fail } = await run(['litellm', `${FIXTURES}team-stack.yaml`]);
    expect(code).toBe(0);
    const place = 'team-stack.yaml:29:14 litellm_settings.telemetry: Lanyard reports to nobody';
    expect(out).toContain(`#   ${place}\n`);
    expect(fail).toContain(`\n  ${place}`);
    expect(fail).toMatch(/team-stack\.yaml: 4 models on 1 backend\./);
  });
});

describe('what is no LiteLLM configuration', () => {
  test.each([
    ['', 'stdin:1:1 this is no LiteLLM configuration'],
    ['- a\n', 'stdin:1:1 this is no LiteLLM configuration'],
    ['a: 1\n', 'stdin:1:1 this is no LiteLLM configuration'],
    ['backends: {}\nmodels: {}\n', 'stdin:1:1 this is Lanyard’s own configuration'],
    ['general_settings: {}\nmodel_list:\n  a: 1\n', 'stdin:3:3 model_list must be a list of models'],
    ['model_list: []\nrouter_settings: [1]\n', 'stdin:2:18 router_settings must be a map'],
    ['model_list:\n  - a: "\n', 'stdin:3:1 '],
    ['model_list: []\n---\nmodel_list: []\n', 'stdin:2:1 a second YAML document begins here'],
    ['model_list: !include x.yaml\n', 'stdin:1:13 YAML tags'],
    ['model_list: &a [*a]\n', 'stdin:1:17 the file is nested deeper than 40 levels'],
    ['model_list: *gone\n', 'stdin:1:13 this alias'],
  ])('is told with its place and nothing is printed: %j', async (text, told) => {
    const { code, yaml, errors } = await importText(text);
    expect([code, yaml]).toEqual([1, '']);
    expect(errors).toContain(told);
  });

  test('is a text that is too large, or not UTF-8', async () => {
    expect((await importText(`# ${'x'.repeat(1024 ** 2)}\nmodel_list: []\n`)).errors).toBe(
      'stdin: is larger than 1 MiB; this is no configuration',
    );
    const stdin = (async function* () {
      yield Buffer.from([0x61, 0xff]);
    })();
    const fail: string[] = [];
    expect(await importConfig(['litellm', '-'], { out: () => {}, fail: (line) => fail.push(line), stdin })).toBe(1);
    expect(fail).toEqual(['stdin: is not UTF-8 text: save it as UTF-8']);
  });

  test('does not multiply by nested aliases', async () => {
    const lines = ['model_list: []', 'a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]'];
    for (let i = 1; i < 8; i += 1)
      lines.push(
        `a${i}: &a${i} [${Array(10)
          .fill(`*a${i - 1}`)
          .join(', ')}]`,
      );
    expect((await importText(lines.join('\n'))).errors).toContain('the file holds more than 50000 values');
  });
});

describe.each(readdirSync(FIXTURES))('%s', (name) => {
  const text = readFileSync(`${FIXTURES}${name}`, 'utf8');

  test('comes out as a configuration that loads', async () => {
    const { code, yaml } = await importText(text);
    expect(code).toBe(0);
    expect(load(yaml).models?.size).toBeGreaterThan(0);
  });

  test('gives no secret away', async () => {
    const { yaml, errors } = await importText(text);
    expect(yaml + errors).not.toMatch(/-secret-|sk-1234/);
  });
});
