// What each engine tells of its models, read from its own bytes, and how `auto` tells one engine from another.
import { readFileSync } from 'node:fs';
import { afterEach, describe, expect, test } from 'vitest';
import { Backend } from '../../src/fleet/backend.ts';
import { ENGINES, SIGNS } from '../../src/fleet/engines/all.ts';
import type { ModelInfo } from '../../src/fleet/engines/engine.ts';
import { probe } from '../../src/fleet/probe.ts';
import { isRecord, type Json } from '../../src/wire/record.ts';
import type { EngineName } from '../../src/types.ts';
import { startEngine, type EngineKind, type FakeEngine } from '../engines/engine.ts';
import { freePort } from '../stage/ports.ts';

const open: { stop(): Promise<void> }[] = [];
afterEach(async () => void (await Promise.all(open.splice(0).map((one) => one.stop()))));

async function engineOf(options: Parameters<typeof startEngine>[0]): Promise<FakeEngine> {
  const engine = await startEngine(options);
  open.push(engine);
  return engine;
}

function backendOf(url: string, engine: EngineName = 'auto', key?: string): Backend {
  const backend = new Backend('b', { engine, url, key, slots: undefined, publish: [] }, 2_000);
  open.push({ stop: () => backend.destroy() });
  return backend;
}

const LISTS: unknown = JSON.parse(readFileSync(new URL('../fixtures/model-lists.json', import.meta.url), 'utf8'));

/** An engine's own answer; where its bytes come from is said beside them. */
function fixture(name: string): Json {
  const found = isRecord(LISTS) ? LISTS[name] : undefined;
  if (!isRecord(found) || !isRecord(found['body'])) throw new Error(`there is no fixture ${name}`);
  return found['body'];
}

const model = (id: string, context_length?: number, capabilities: string[] = []): ModelInfo => ({
  id,
  context_length,
  capabilities,
});

describe('a model list', () => {
  test.each([
    [
      'of Ollama',
      'ollama',
      'ollama-tags',
      [model('codellama:13b', 16_384, ['completion', 'insert']), model('llama3:latest')],
    ],
    ['of vLLM', 'vllm', 'vllm-models', [model('seongil-dn/bge-m3-3800_steps_v2_234', 1_024)]],
    [
      'of llama.cpp',
      'llama.cpp',
      'llamacpp-models',
      [model('unsloth/gemma-4-E2B-it-GGUF:Q4_K_M', 131_072, ['vision'])],
    ],
    [
      'of a llama.cpp that tells its slots’ context',
      'llama.cpp',
      'llamacpp-models-n_ctx',
      [model('qwen3.8-27b', 32_768)],
    ],
    [
      'of LM Studio',
      'openai',
      'lmstudio-models',
      [model('meta-llama-3.1-8b-instruct'), model('text-embedding-nomic-embed-text-v1.5')],
    ],
    ['of SGLang', 'openai', 'sglang-models', [model('Ling-3.0-tiny-bf16', 131_072)]],
    [
      'of OpenVINO',
      'openai',
      'openvino-models',
      [model('OpenVINO/Qwen3-8B-int4-ov'), model('OpenVINO/bge-base-en-v1.5-fp16-ov')],
    ],
  ] satisfies [string, keyof typeof ENGINES, string, ModelInfo[]][])('%s is read', (_name, engine, file, told) => {
    expect(ENGINES[engine].models.read(fixture(file))).toEqual(told);
  });

  test.each([
    ['a null list is empty', 'openai', { object: 'list', data: null }, []],
    ['Ollama without a model is empty', 'ollama', { models: null }, []],
    [
      'an entry without an id is passed over',
      'openai',
      { data: [{ object: 'model' }, 7, null, { id: '' }, { id: 'a' }] },
      [model('a')],
    ],
    [
      'a context that is no count is not told',
      'vllm',
      {
        data: [
          { id: 'a', max_model_len: -1 },
          { id: 'b', max_model_len: '8k' },
        ],
      },
      [model('a'), model('b')],
    ],
    [
      'an error with 200 (LM Studio) is no list',
      'openai',
      { error: 'Unexpected endpoint or method. (GET /v1/models)' },
      undefined,
    ],
    ['something else is no list', 'openai', { data: 'models' }, undefined],
    ['a null that is no list is no list', 'openai', { data: null }, undefined],
    ['Ollama’s list must be one', 'ollama', { data: [] }, undefined],
  ] satisfies [string, keyof typeof ENGINES, Json, ModelInfo[] | undefined][])('%s', (_name, engine, body, told) => {
    expect(ENGINES[engine].models.read(body)).toEqual(told);
  });
});

describe('the context that is really loaded', () => {
  test.each([
    ['Ollama’s, by model', 'ollama', 'ollama-ps', [['mistral:latest', 4_096]]],
    ['llama.cpp’s, for whatever it serves', 'llama.cpp', 'llamacpp-props', [['*', 1_024]]],
  ] satisfies [string, 'ollama' | 'llama.cpp', string, [string, number][]][])('%s', (_name, engine, file, told) => {
    expect([...(ENGINES[engine].loaded?.read(fixture(file)).contexts ?? [])]).toEqual(told);
  });

  test.each([
    [
      'llama.cpp: what is loaded, not what it was trained for',
      'llama.cpp',
      { name: 'm', context: 8_192, context_trained: 131_072 },
      8_192,
    ],
    ['vLLM: what it was started with', 'vllm', { name: 'm', context: 16_384 }, 16_384],
    ['SGLang: what it was started with', 'sglang', { name: 'm', context: 16_384 }, 16_384],
  ] as const)('%s', async (_name, kind, spec, context) => {
    const engine = await engineOf({ kind, models: [spec] });
    const news = await probe(backendOf(engine.url));
    expect('models' in news && news.models.get('m')?.context_length).toBe(context);
  });

  test('Ollama: of a model that is loaded, what it was loaded with', async () => {
    const engine = await engineOf({
      kind: 'ollama',
      models: [{ name: 'm:1b', context: 4_096, context_trained: 32_768 }],
    });
    await fetch(`${engine.url}/v1/chat/completions`, {
      method: 'POST',
      body: JSON.stringify({ model: 'm:1b', messages: [] }),
    });
    const news = await probe(backendOf(engine.url));
    expect('models' in news && news.models.get('m:1b')?.context_length).toBe(4_096);
  });
});

describe('auto', () => {
  const KINDS = [
    ['ollama', 'ollama'],
    ['vllm', 'vllm'],
    ['llama.cpp', 'llama.cpp'],
    ['lmstudio', 'lmstudio'],
    ['sglang', 'sglang'],
    ['openvino', 'openvino'],
    ['tei', 'tei'],
    ['infinity', 'infinity'],
    ['openai', 'openai'],
  ] satisfies [EngineKind, string][];

  test.each(KINDS)('knows %s as %s, and asks nothing that infers', async (kind, name) => {
    const engine = await engineOf({ kind, models: ['m'] });
    const news = await probe(backendOf(engine.url));
    expect('models' in news ? [news.engine.name, [...news.models.keys()]] : news).toEqual([name, ['m']]);
    expect(engine.asked).toHaveLength(0);
    // Ollama tells what a model can do by POST, without loading it.
    expect(engine.seen.every(({ method, path }) => method === 'GET' || path === '/api/show')).toBe(true);
  });

  test.each(KINDS.filter(([kind]) => kind !== 'infinity'))(
    'knows %s by a URL that names its base, too',
    async (kind, name) => {
      const engine = await engineOf({ kind, models: ['m'] });
      const news = await probe(backendOf(`${engine.url}/v1/`));
      expect('models' in news ? [news.engine.name, [...news.models.keys()]] : news).toEqual([name, ['m']]);
    },
  );

  test.each(KINDS)('gives %s the backend’s own key', async (kind, name) => {
    const engine = await engineOf({ kind, models: ['m'], key: 'sk-engine' });
    const news = await probe(backendOf(engine.url, 'auto', 'sk-engine'));
    expect('models' in news ? [news.engine.name, [...news.models.keys()]] : news).toEqual([name, ['m']]);
  });

  test('takes what shows no sign for plain OpenAI, asked last', () => {
    expect(SIGNS.at(-1)).toBe(ENGINES.openai);
    expect(SIGNS.slice(0, -1).every(({ sign }) => sign !== undefined)).toBe(true);
  });

  test('does not take a llama.cpp that loads for something else that is ready', async () => {
    const engine = await engineOf({ kind: 'llama.cpp', models: ['m'], load_ms: 60_000 });
    expect(await probe(backendOf(engine.url))).toEqual({ reason: 'loading', fatal: true });
  });
});

describe('a probe', () => {
  const probed = async (
    kind: EngineKind,
    fault: Parameters<FakeEngine['probes']>[0],
    as: EngineName = 'auto',
  ): Promise<unknown> => {
    const engine = await engineOf({ kind });
    engine.probes(fault);
    return await probe(backendOf(engine.url, as), 200);
  };

  test('of a closed port says so, for certain', async () => {
    const backend = backendOf(`http://127.0.0.1:${await freePort()}`);
    expect(await probe(backend)).toEqual({ reason: 'connect', fatal: true });
  });

  test.each([
    [
      'an engine that hangs leaves it open whether it is dead',
      'vllm',
      'hang',
      'vllm',
      { reason: 'timeout', fatal: false },
    ],
    ['an engine that breaks off leaves it open, too', 'openai', 'refuse', 'openai', { reason: 'reset', fatal: false }],
    [
      'an engine that fails leaves it open, too',
      'openai',
      '500',
      'openai',
      { reason: 'no model list (status 500)', fatal: false },
    ],
    ['llama.cpp that loads says so', 'llama.cpp', 'loading', 'llama.cpp', { reason: 'loading', fatal: true }],
    ['vLLM whose engine has died is not loading', 'vllm', 'loading', 'vllm', { reason: 'not ready', fatal: true }],
  ] satisfies [string, EngineKind, Parameters<FakeEngine['probes']>[0], EngineName, object][])(
    'of %s',
    async (_name, kind, fault, as, news) => {
      expect(await probed(kind, fault, as)).toEqual(news);
    },
  );

  // llama.cpp lists its models to anyone, so it is what it has loaded that tells.
  test.each(['vllm', 'llama.cpp', 'ollama', 'openai'] as const)(
    'of %s that refuses our key says so, for certain',
    async (kind) => {
      const engine = await engineOf({ kind, key: 'sk-engine' });
      expect(await probe(backendOf(engine.url, kind, 'sk-wrong'))).toEqual({
        reason: 'it refuses our key',
        fatal: true,
      });
    },
  );
});

describe('requests', () => {
  test.each([
    ['ollama', { max_completion_tokens: 'max_tokens' }],
    ['vllm', {}],
    ['llama.cpp', {}],
    ['openai', {}],
  ] as const)('%s knows the fields by these older names', (engine, renames) => {
    expect(ENGINES[engine].renames).toEqual(renames);
  });

  test.each([
    ['no path: the engine’s own base', 'vllm', '', '/v1/embeddings', '/health'],
    ['the base written out', 'vllm', '/v1/', '/v1/embeddings', '/health'],
    ['another path, used as written', 'openai', '/v3', '/v3/embeddings', '/v3/health'],
    ['a path before the base', 'vllm', '/gpu/v1', '/gpu/v1/embeddings', '/gpu/health'],
  ] as const)('with %s', (_name, engine, path, route, root) => {
    const backend = backendOf(`http://127.0.0.1:1${path}`, engine);
    expect([backend.route('embeddings'), backend.at('/health')]).toEqual([route, root]);
  });
});

test('what an Ollama model can do is asked once, not with every probe, and its silence is no fault', async () => {
  const engine = await engineOf({ kind: 'ollama', models: ['a', { name: 'e', embeds: true }] });
  const backend = backendOf(engine.url, 'ollama');
  const shows = (): number => engine.seen.filter(({ path }) => path === '/api/show').length;
  for (const _ of [1, 2]) {
    const news = await probe(backend);
    backend.probed(performance.now(), news);
    expect([...backend.models.values()].map(({ capabilities }) => capabilities)).toEqual([
      ['completion', 'tools'],
      ['embedding'],
    ]);
    expect(shows()).toBe(2);
  }
});

describe('how much an engine works on', () => {
  test.each([
    ['vllm', 3],
    ['llama.cpp', 3],
    ['sglang', 3],
    // Only what has its own way to tell does.
    ['ollama', undefined],
    ['openai', undefined],
  ] as const)('%s tells: %s', async (kind, running) => {
    const engine = await engineOf({ kind, models: ['m'], slots: 4 });
    engine.always({ kind: 'hold' });
    const asked = [1, 2, 3].map(() =>
      fetch(`${engine.url}/v1/chat/completions`, {
        method: 'POST',
        body: JSON.stringify({ model: 'm', messages: [] }),
      }),
    );
    await engine.until(({ held }) => held === 3);
    const news = await probe(backendOf(engine.url, kind));
    expect('models' in news && news.running).toBe(running);
    engine.always(undefined);
    engine.release();
    await Promise.all(asked.map(async (one) => await (await one).text()));
  });

  test('and what is not ours counts in how loaded it is', () => {
    const backend = backendOf('http://127.0.0.1:1', 'vllm');
    backend.in_flight = 2;
    backend.probed(0, { engine: ENGINES.vllm, models: new Map(), capacity: { slots: 10 }, running: 7 });
    expect([backend.others, backend.load, backend.slots]).toEqual([5, 0.7, 10]);
  });

  test('what it takes at once is told by llama.cpp and text-embeddings-inference', async () => {
    const [llama, tei] = [await engineOf({ kind: 'llama.cpp', slots: 3 }), await engineOf({ kind: 'tei' })];
    const told = await Promise.all([llama, tei].map(({ url }) => probe(backendOf(url))));
    expect(told.map((news) => 'capacity' in news && news.capacity)).toEqual([
      { slots: 3 },
      { slots: 512, inputs_max: 32 },
    ]);
  });
});
