// A suffix written into the prompt, as each family of models was taught to read it.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { scanObject, splice } from '../../src/wire/body.ts';
import { fillIn, hasSuffix } from '../../src/wire/fim.ts';
import type { FimFamily } from '../../src/types.ts';
import { callOf, refusal } from '../stage/call.ts';

/** The body that a backend gets. */
function filled(given: object | string, name: string, family?: FimFamily | 'off'): string {
  const call = callOf('completions', given);
  return splice(call.body, fillIn(call, name, family)).toString();
}

function promptFor(name: string, family?: FimFamily): unknown {
  const { prompt } = JSON.parse(filled({ prompt: 'P', suffix: 'S' }, name, family)) as { prompt: unknown };
  return prompt;
}

const WRITTEN: Readonly<Record<FimFamily, string>> = {
  qwen: '<|fim_prefix|>P<|fim_suffix|>S<|fim_middle|>',
  starcoder: '<fim_prefix>P<fim_suffix>S<fim_middle>',
  codellama: '<PRE> P <SUF>S <MID>',
  deepseek: '<｜fim▁begin｜>P<｜fim▁hole｜>S<｜fim▁end｜>',
  codestral: '[SUFFIX]S[PREFIX]P',
  codegemma: '<|fim_prefix|>P<|fim_suffix|>S<|fim_middle|>',
  granite: '<|fim_prefix|>P<|fim_suffix|>S<|fim_middle|>',
  seed: '<[fim-suffix]>S<[fim-prefix]>P<[fim-middle]>',
};

describe('a family is told by the name of the model', () => {
  test.each<[FimFamily, readonly string[]]>([
    ['qwen', ['qwen2.5-coder:1.5b-base', 'Qwen/Qwen2.5-Coder-7B-Instruct', 'qwen3-coder:30b', 'Qwen3-Coder-Next-FP8']],
    ['starcoder', ['starcoder2:3b', 'bigcode/starcoderbase-1b', 'star-coder', 'stabilityai/stable-code-3b']],
    // CodeQwen1.5 came before Qwen's own tokens: its repository gives StarCoder's.
    ['starcoder', ['codeqwen:7b', 'Qwen/CodeQwen1.5-7B']],
    ['codellama', ['codellama:7b-code', 'codellama/CodeLlama-13b-hf', 'TheBloke/Code-Llama-7B-GGUF']],
    ['deepseek', ['deepseek-coder:6.7b-base', 'deepseek-ai/DeepSeek-Coder-V2-Lite-Base', 'deepseek-coder-v2:16b']],
    ['codestral', ['codestral:22b', 'mistralai/Codestral-22B-v0.1']],
    ['codegemma', ['codegemma:2b-code', 'google/codegemma-7b']],
    ['granite', ['granite4:micro-h', 'ibm-granite/granite-4.0-h-tiny']],
    ['seed', ['ByteDance-Seed/Seed-Coder-8B-Base', 'seedcoder:8b']],
  ])('%s: %j', (family, names) => {
    for (const name of names) expect(promptFor(name), name).toBe(WRITTEN[family]);
  });

  test('but what the operator says counts for more', () => {
    for (const family of Object.keys(WRITTEN) as FimFamily[]) {
      expect(promptFor('qwen2.5-coder', family)).toBe(WRITTEN[family]);
      expect(promptFor('house-model', family)).toBe(WRITTEN[family]);
    }
  });
});

describe('a suffix is refused', () => {
  const asked = { prompt: 'P', suffix: 'S' };

  test.each<[string, string, FimFamily | 'off' | undefined]>([
    ['of a family that is not known', 'llama3.2:3b', undefined],
    ['of one that was not taught', 'qwen2.5:7b-instruct', undefined],
    ['of a chat model of another maker, by the name within', 'deepseek-r1-distill-qwen-7b', undefined],
    ['where the operator says so', 'qwen2.5-coder:7b', 'off'],
  ])('%s', (_name, name, family) => {
    const error = refusal(() => filled(asked, name, family));
    expect(error).toMatchObject({ code: 'unsupported_parameter', details: { param: 'suffix' } });
  });

  test.each<[string, object]>([
    ['with several prompts', { prompt: ['P', 'Q'], suffix: 'S' }],
    ['with no prompt', { prompt: [], suffix: 'S' }],
    ['without a prompt', { suffix: 'S' }],
    ['with token ids', { prompt: [1, 2, 3], suffix: 'S' }],
    ['with one token id', { prompt: [1], suffix: 'S' }],
    ['with a list of token ids', { prompt: [[1, 2]], suffix: 'S' }],
    ['with null', { prompt: null, suffix: 'S' }],
  ])('%s', (_name, body) => {
    const error = refusal(() => filled(body, 'qwen2.5-coder'));
    expect(error).toMatchObject({ code: 'invalid_value', details: { param: 'prompt' } });
  });
});

describe('the body', () => {
  test.each<[string, string, string]>([
    [
      'has the prompt in its place and no suffix',
      '{ "model":"m", "prompt" : "P",\n "suffix": "S", "n":1e0 }',
      '{ "model":"m", "prompt" : "[SUFFIX]S[PREFIX]P",\n "n":1e0 }',
    ],
    ['though the suffix comes first', '{"suffix":"S","prompt":"P"}', '{"prompt":"[SUFFIX]S[PREFIX]P"}'],
    ['though the prompt is a list of one', '{"prompt": [ "P" ] ,"suffix":"S"}', '{"prompt": "[SUFFIX]S[PREFIX]P" }'],
    ['though the prompt is empty', '{"prompt":"","suffix":"S"}', '{"prompt":"[SUFFIX]S[PREFIX]"}'],
    ['though the suffix is none', '{"prompt":"P","suffix":null}', '{"prompt":"[SUFFIX][PREFIX]P"}'],
    [
      'with escapes said as JSON says them',
      '{"prompt":"\\u0061\\n\\"","suffix":"\\ud83c\\udf0d"}',
      '{"prompt":"[SUFFIX]🌍[PREFIX]a\\n\\""}',
    ],
  ])('%s', (_name, given, sent) => {
    expect(filled(given, 'codestral')).toBe(sent);
  });

  test('is what was meant, of any text, and every other member is the bytes it was', () => {
    const text = fc.string({ unit: 'grapheme', maxLength: 30 });
    fc.assert(
      fc.property(text, text, fc.boolean(), (prompt, suffix, listed) => {
        const rest = '"temperature": 0.10, "stop":["\\u0041"]';
        const given = `{${rest},"prompt":${JSON.stringify(listed ? [prompt] : prompt)},"suffix":${JSON.stringify(suffix)}}`;
        const sent = filled(given, 'starcoder2');
        expect(sent.startsWith(`{${rest},"prompt":`)).toBe(true);
        expect([...scanObject(Buffer.from(sent)).members.keys()]).toEqual(['temperature', 'stop', 'prompt']);
        expect(JSON.parse(sent)).toMatchObject({ prompt: `<fim_prefix>${prompt}<fim_suffix>${suffix}<fim_middle>` });
      }),
    );
  });
});

test.each<[string, boolean]>([
  ['{"suffix":"S"}', true],
  ['{"suffix":""}', false],
  ['{"suffix":null}', false],
  ['{}', false],
])('%s asks to fill in: %s', (body, has) => {
  expect(hasSuffix(callOf('completions', body))).toBe(has);
  // A chat has no suffix, whatever it calls so.
  expect(hasSuffix(callOf('chat/completions', body))).toBe(false);
});
