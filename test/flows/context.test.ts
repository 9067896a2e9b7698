// What fits and what does not: a call that cannot fit a model's context goes to where it can, or hears so before it costs
// anything; where nobody can tell, Ollama is asked in the one way in which it does not cut.
import { describe, expect, onTestFinished, test } from 'vitest';
import { startEngine, type EngineKind, type FakeEngine } from '../engines/engine.ts';
import { openGateway, type Stage } from '../stage/gateway.ts';

const CHAT = '/v1/chat/completions';
const words = (count: number): object => ({
  model: 'coder',
  messages: [{ role: 'user', content: 'word '.repeat(count) }],
});

async function engineOf(kind: EngineKind, context: number): Promise<FakeEngine> {
  const engine = await startEngine({ kind, models: [{ name: 'm', context }] });
  onTestFinished(() => engine.stop());
  return engine;
}

async function before(engines: Readonly<Record<string, FakeEngine>>, more = ''): Promise<Stage> {
  const names = Object.keys(engines);
  return await openGateway(`
backends:
${names.map((name) => `  ${name}: { engine: ${engines[name]?.kind}, url: "${engines[name]?.url}" }`).join('\n')}
models:
  coder: { serve: [${names.map((name) => `${name}/m`).join(', ')}]${more} }
`);
}

interface Failure {
  readonly error: { readonly code: string; readonly message: string; readonly param: string };
}

describe('a call that cannot fit', () => {
  test('is refused before it is sent anywhere, in the form that editors know', async () => {
    const engine = await engineOf('vllm', 4_096);
    const gateway = await before({ small: engine });
    const answer = await gateway.ask(CHAT, words(20_000));
    const { error } = (await answer.json()) as Failure;
    expect([answer.status, error.code, error.param]).toEqual([400, 'context_length_exceeded', 'messages']);
    expect(error.message).toMatch(
      /^This model's maximum context length is 4096 tokens\. However, your messages resulted in \d+ tokens\./,
    );
    expect(engine.asked).toHaveLength(0);
  });

  test('goes to the deployment where it can, though that is busier', async () => {
    const [small, large] = [await engineOf('vllm', 4_096), await engineOf('vllm', 131_072)];
    const gateway = await before({ small, large });
    for (const count of [20_000, 20_000, 20_000]) expect((await gateway.ask(CHAT, words(count))).status).toBe(200);
    expect([small.asked.length, large.asked.length]).toEqual([0, 3]);
  });

  test('goes to a fallback where it can', async () => {
    const [small, large] = [await engineOf('vllm', 4_096), await engineOf('vllm', 131_072)];
    const gateway = await openGateway(`
backends: { small: { engine: vllm, url: "${small.url}" }, large: { engine: vllm, url: "${large.url}" } }
models: { coder: { serve: [small/m], fallback: [bigger] }, bigger: [large/m] }
`);
    const answer = await gateway.ask(CHAT, words(20_000));
    expect([answer.status, answer.headers.get('x-lanyard-model')]).toEqual([200, 'bigger']);
  });
});

test('a call that an engine finds too long is tried where there is more room, and nowhere else', async () => {
  // 8,000 words are some 10,000 tokens: an estimate cannot say whether 8,192 are enough.
  const [small, same, large] = [
    await engineOf('vllm', 8_192),
    await engineOf('vllm', 8_192),
    await engineOf('vllm', 10_500),
  ];
  const gateway = await before({ small, same, large });
  const answer = await gateway.ask(CHAT, words(8_000));
  expect([answer.status, answer.headers.get('x-lanyard-backend')]).toEqual([200, 'large']);
  expect(small.asked.length + same.asked.length).toBeLessThanOrEqual(1);
});

test('images are no text: they do not count', async () => {
  const engine = await engineOf('vllm', 4_096);
  const gateway = await before({ small: engine });
  const url = `data:image/png;base64,${'A'.repeat(1 << 20)}`;
  const messages = [{ role: 'user', content: [{ type: 'image_url', image_url: { url } }] }];
  expect((await gateway.ask(CHAT, { model: 'coder', messages })).status).toBe(200);
});

test('what a model’s tokens take is learned from what it counts, and the estimate narrows', async () => {
  const engine = await engineOf('vllm', 12_000);
  const gateway = await before({ small: engine });
  // 12,000 words are 60 kB: at up to 16 bytes a token they might fit, so the engine is asked, and refuses.
  expect((await gateway.ask(CHAT, words(12_000))).status).toBe(400);
  expect(engine.asked).toHaveLength(1);
  for (let n = 0; n < 4; n += 1) expect((await gateway.ask(CHAT, words(2_000))).status).toBe(200);
  // By now it is known that a token takes four or five bytes: twice the context cannot fit.
  expect((await gateway.ask(CHAT, words(24_000))).status).toBe(400);
  expect(engine.asked).toHaveLength(5);
});

describe('Ollama, which cuts what does not fit without a word', () => {
  const warm = async (engine: FakeEngine): Promise<void> => {
    const body = JSON.stringify({ model: 'm', messages: [] });
    await (await fetch(`${engine.url}/v1/chat/completions`, { method: 'POST', body })).text();
  };

  test('is asked as ever where it surely fits', async () => {
    const engine = await engineOf('ollama', 4_096);
    await warm(engine);
    const gateway = await before({ desk: engine });
    expect((await gateway.ask(CHAT, words(100))).status).toBe(200);
    expect(engine.asked.at(-1)?.path).toBe('/v1/chat/completions');
  });

  test.each([true, false])(
    'is asked not to cut where nobody can tell, and its answer is the same (stream: %s)',
    async (stream) => {
      const engine = await engineOf('ollama', 4_096);
      await warm(engine);
      const gateway = await before({ desk: engine });
      const text = await (await gateway.ask(CHAT, { ...words(2_000), stream })).text();
      expect(text).toContain(stream ? 'data: [DONE]' : '"finish_reason":"stop"');
      expect(text).toContain('Gr');
      const asked = engine.asked.at(-1);
      expect([asked?.path, JSON.parse(asked?.body.toString() ?? '')]).toMatchObject([
        '/api/chat',
        { truncate: false, stream },
      ]);
      await expect.poll(() => gateway.outcomes()).toMatchObject([{ tokens_out: 8 }]);
    },
  );

  test('and what it then refuses is context_length_exceeded, of chats, completions and embeddings alike', async () => {
    const engine = await engineOf('ollama', 4_096);
    await warm(engine);
    const gateway = await before({ desk: engine });
    const long = 'word '.repeat(5_000);
    for (const [path, body] of [
      [CHAT, words(5_000)],
      ['/v1/completions', { model: 'coder', prompt: long }],
      ['/v1/embeddings', { model: 'coder', input: long }],
    ] as const) {
      const answer = await gateway.ask(path, body);
      expect([answer.status, ((await answer.json()) as Failure).error.code]).toEqual([400, 'context_length_exceeded']);
      expect(engine.asked.at(-1)?.path.startsWith('/api/')).toBe(true);
    }
  });
});

describe('a suffix to fill in before', () => {
  const ask = { model: 'coder', prompt: 'def f(', suffix: '):\n  pass', max_tokens: 4 };

  test.each([
    ['vllm', 'Qwen/Qwen2.5-Coder-7B', '<|fim_prefix|>def f(<|fim_suffix|>):\n  pass<|fim_middle|>'],
    ['llama.cpp', 'deepseek-coder-v2-lite', '<｜fim▁begin｜>def f(<｜fim▁hole｜>):\n  pass<｜fim▁end｜>'],
  ] as const)('is written as its family reads it for %s, which takes none', async (kind, model, prompt) => {
    const engine = await startEngine({ kind, models: [model] });
    onTestFinished(() => engine.stop());
    const gateway = await openGateway(
      `backends: { rack: { engine: ${kind}, url: "${engine.url}" } }\nmodels: { coder: ["rack/${model}"] }\n`,
    );
    expect((await gateway.ask('/v1/completions', ask)).status).toBe(200);
    const sent = JSON.parse(engine.asked[0]?.body.toString() ?? '') as object;
    expect(sent).toEqual({ model, prompt, max_tokens: 4 });
  });

  test('is left to Ollama, which knows its models’ templates', async () => {
    const engine = await engineOf('ollama', 4_096);
    const gateway = await before({ desk: engine });
    expect((await gateway.ask('/v1/completions', ask)).status).toBe(200);
    expect(JSON.parse(engine.asked[0]?.body.toString() ?? '')).toMatchObject({
      prompt: ask.prompt,
      suffix: ask.suffix,
    });
  });

  test('of a model of no known family is refused, with what the operator can say', async () => {
    const engine = await engineOf('vllm', 4_096);
    const gateway = await before({ rack: engine });
    const answer = await gateway.ask('/v1/completions', ask);
    expect([answer.status, ((await answer.json()) as Failure).error]).toMatchObject([
      400,
      { code: 'unsupported_parameter', param: 'suffix' },
    ]);
    expect(engine.asked).toHaveLength(0);
  });
});

describe('embeddings', () => {
  test('each input has the context to itself: many that fit are not too long together', async () => {
    const engine = await engineOf('tei', 512);
    const gateway = await before({ rack: engine });
    const input = Array.from({ length: 30 }, () => 'word '.repeat(80));
    expect((await gateway.ask('/v1/embeddings', { model: 'coder', input })).status).toBe(200);
    const answer = await gateway.ask('/v1/embeddings', { model: 'coder', input: ['a', 'word '.repeat(4_000)] });
    const { error } = (await answer.json()) as Failure;
    expect([answer.status, error.code, error.param]).toEqual([400, 'context_length_exceeded', 'input']);
    expect(engine.asked).toHaveLength(1);
  });

  test('in parts are never of two models, though a fallback has room', async () => {
    const [small, other] = [await engineOf('vllm', 512), await engineOf('vllm', 512)];
    const gateway = await openGateway(`
backends:
  small: { engine: vllm, url: "${small.url}", inputs_max: 1, slots: 1 }
  other: { engine: vllm, url: "${other.url}", inputs_max: 1 }
models: { coder: { serve: [small/m], fallback: [more] }, more: [other/m] }
`);
    const input = Array.from({ length: 12 }, (_, at) => `text ${at}`);
    const answer = await gateway.ask('/v1/embeddings', { model: 'coder', input });
    expect([answer.status, answer.headers.get('x-lanyard-model')]).toEqual([200, 'coder']);
    expect([small.asked.length, other.asked.length]).toEqual([12, 0]);
  });
});
