// What each thing in a LiteLLM configuration becomes: the output is read again by the gateway's own loader.
import { describe, expect, test } from 'vitest';
import type { Config } from '../../src/types.ts';
import { importText, load } from './imported.ts';

async function config(text: string): Promise<Config & { errors: string }> {
  const { yaml, errors, code } = await importText(text);
  expect(code).toBe(0);
  return { ...load(yaml), errors };
}

/** One entry of `model_list` for each line of parameters, all of them called `m` unless it says more. */
function list(...params: string[]): string {
  return `model_list:\n${params.map((one) => (one.includes('model_name') ? `  - ${one}\n` : `  - { model_name: m, litellm_params: { ${one} } }\n`)).join('')}`;
}

describe('an engine', () => {
  test.each([
    ['model: ollama/a', 'ollama', 'ollama', 'http://localhost:11434'],
    [
      'model: ollama_chat/a, api_base: "http://10.0.0.11:11434/"',
      'ollama-10.0.0.11',
      'ollama',
      'http://10.0.0.11:11434',
    ],
    ['model: ollama/a, api_base: "http://desk.lan:11434/api/generate"', 'desk', 'ollama', 'http://desk.lan:11434'],
    [
      'model: ollama/a, api_base: "https://gpu.example.com/ollama"',
      'gpu',
      'ollama',
      'https://gpu.example.com/ollama/v1',
    ],
    ['model: openai/a, api_base: "http://ollama:11434/v1"', 'ollama', 'ollama', 'http://ollama:11434'],
    ['model: openai/a, api_base: "http://10.0.0.12:8000/v1/"', 'openai-10.0.0.12', 'auto', 'http://10.0.0.12:8000/v1'],
    ['model: openai/a, base_url: "http://rack.lan:8080"', 'rack', 'auto', 'http://rack.lan:8080'],
    ['model: openai/a, api_base: "https://llm.example.com/v1"', 'llm', 'openai', 'https://llm.example.com/v1'],
    [
      'model: hosted_vllm/a, api_base: "http://10.0.0.12:8000/v1"',
      'vllm-10.0.0.12',
      'vllm',
      'http://10.0.0.12:8000/v1',
    ],
    ['model: hosted_vllm/a', 'hosted-vllm', 'vllm', 'http://10.0.0.9:9000'],
    ['model: vllm/a, api_base: os.environ/RACK_API_BASE', 'rack', 'vllm', 'http://10.0.0.9:9000'],
    ['model: lm_studio/a, api_base: "http://127.0.0.1:1234/v1"', 'lm-studio', 'openai', 'http://127.0.0.1:1234/v1'],
    ['model: a, custom_llm_provider: openai, api_base: "http://h:1/v1"', 'h', 'auto', 'http://h:1/v1'],
    ['model: org/a, custom_llm_provider: hosted_vllm, api_base: "http://h:1/v1"', 'h', 'vllm', 'http://h:1/v1'],
    [
      'model: text-completion-openai/a, api_base: "http://[fd00::1]:8000/v1"',
      'openai',
      'auto',
      'http://[fd00::1]:8000/v1',
    ],
    ['model: gpt-4o', 'openai', 'openai', 'https://api.openai.com/v1'],
    ['model: openrouter/org/a', 'openrouter', 'openai', 'https://openrouter.ai/api/v1'],
  ])('of `%s` is %s, %s at %s', async (params, name, engine, url) => {
    const { backends } = await config(list(params));
    expect([...(backends ?? [])].map(([name, { engine, url }]) => [name, engine, url])).toEqual([[name, engine, url]]);
  });

  test.each([
    ['model: anthropic/claude', 'speaks a dialect of its own'],
    ['model: azure/gpt-4o, api_base: "https://x.openai.azure.com"', 'speaks a dialect of its own'],
    ['model: "*"', 'any provider'],
    ['model: huggingface/org/a', 'no api_base'],
    ['model: hosted_vllm/a, api_base: "rack:8000"', 'not an http:// or https:// address'],
    ['model: "ollama/ "', 'no name that an engine could have'],
    ['api_base: "http://h:1"', 'lacks one of them'],
    [
      '{ model_name: m, litellm_params: { model: openai/whisper, api_base: "http://h:1" }, model_info: { mode: audio_transcription } }',
      'mode is another',
    ],
    ['{ model_name: m*, litellm_params: { model: ollama/a } }', 'a pattern and a name'],
  ])('is not made of `%s`, which is told', async (params, told) => {
    const { backends, models, errors } = await config(list(params));
    expect([backends, models]).toEqual([undefined, undefined]);
    expect(errors).toMatch(new RegExp(`stdin:2:5 model_list\\[0\\]: .*${told}`));
    expect(errors).toContain('no engine is left to serve a model');
  });

  test('is one for all models at its address and key, and another for another key', async () => {
    const rack = 'api_base: "http://rack.lan:8000/v1"';
    const { backends, models } = await config(
      list(
        `model: openai/a, ${rack}`,
        `model: hosted_vllm/b, ${rack}, api_key: none`,
        `model: openai/c, ${rack}, api_key: os.environ/K`,
      ),
    );
    expect([...(backends ?? [])].map(([name, { engine, key }]) => [name, engine, key])).toEqual([
      ['rack', 'vllm', undefined],
      ['rack-2', 'auto', 'k'],
    ]);
    expect(models?.get('m')?.serve.map(({ backend, name }) => `${backend}/${name}`)).toEqual([
      'rack/a',
      'rack/b',
      'rack-2/c',
    ]);
  });

  test('has as many slots as its deployments may be asked in parallel, when each of them says so', async () => {
    const at = 'api_base: "http://rack.lan:8000/v1"';
    const both = await config(
      list(`model: vllm/a, ${at}, max_parallel_requests: 3`, `model: vllm/b, ${at}, max_parallel_requests: 4`),
    );
    expect(both.backends?.get('rack')?.slots).toBe(7);
    const one = await config(list(`model: vllm/a, ${at}, max_parallel_requests: 3`, `model: vllm/b, ${at}`));
    expect(one.backends?.get('rack')?.slots).toBeUndefined();
    expect(one.errors).toContain('max_parallel_requests: not every deployment');
    const usual = `${list(`model: vllm/a, ${at}`)}router_settings: { default_max_parallel_requests: 5 }\n`;
    expect((await config(usual)).backends?.get('rack')?.slots).toBe(5);
  });
});

describe('a key', () => {
  test.each([
    ['os.environ/RACK_KEY', '${RACK_KEY}'],
    ['"${RACK_KEY}"', '${RACK_KEY}'],
    ['"${RACK_KEY:-secret-value}"', '${RACK_KEY}'],
    ['secret-value', '${GPU_1_KEY}'],
    ['sk-1234', '${GPU_1_KEY}'],
    ['os.environ/NOT-A-NAME', '${GPU_1_KEY}'],
  ])('written %s is read from %s', async (key, written) => {
    const { yaml, errors } = await importText(
      list(`model: openai/a, api_base: "http://gpu-1.lan:8000/v1", api_key: ${key}`),
    );
    expect(yaml).toContain(`    key: ${written}\n`);
    expect(yaml + errors).not.toMatch(/secret-value|sk-1234/);
    expect(errors).toContain(/\{(\w+)\}/.exec(written)?.[1]);
  });

  test.each(['none', 'EMPTY', 'sk-none', 'not-needed', 'lm-studio', '"."'])('written %s is none', async (key) => {
    const { backends, errors } = await config(list(`model: openai/a, api_base: "http://h:8000/v1", api_key: ${key}`));
    expect(backends?.get('h')?.key).toBeUndefined();
    expect(errors).toContain('stands for no key');
  });

  test.each([
    ['os.environ/MY_MASTER_KEY', '${MY_MASTER_KEY}', 'reads these'],
    ['aB3dE5fG7hI9jK1lM3nO5', '${LITELLM_MASTER_KEY}', 'put it into .env as LITELLM_MASTER_KEY'],
    ['sk-1234', '${LITELLM_MASTER_KEY}', 'Lanyard would refuse it, because it is an example'],
    ['123456', '${LITELLM_MASTER_KEY}', 'Lanyard would refuse it, because it is too short'],
  ])('of the master written %s is read from %s', async (key, written, told) => {
    const { yaml, errors } = await importText(`${list('model: ollama/a')}general_settings: { master_key: ${key} }\n`);
    expect(yaml).toContain(`  master_key: ${written}\n`);
    expect(errors).toContain(told);
    if (!key.startsWith('os')) expect(yaml + errors).not.toContain(key);
  });

  test('of the master that is missing is told: LiteLLM let everyone in', async () => {
    const { yaml, errors } = await importText(list('model: ollama/a'));
    expect(yaml).not.toContain('master_key:');
    expect(errors).toContain('no master key');
  });
});

describe('a model', () => {
  test('is a list of all deployments of its name, in their order, each once', async () => {
    const { models, errors } = await config(
      list(
        'model: ollama/b:7b',
        'model: ollama/a',
        'model: ollama/a, rpm: 3',
        '{ model_name: 4, litellm_params: { model: ollama/x } }',
      ),
    );
    expect([...(models ?? [])].map(([name, { serve }]) => [name, serve.map((one) => one.name)])).toEqual([
      ['4', ['x']],
      ['m', ['b:7b', 'a']],
    ]);
    expect(errors).toContain('model_list[2]: the same model on the same backend again');
  });

  test.each([
    ['"Qwen 3 (fast)"', 'Qwen-3-fast'],
    ['"ÄÖ model"', 'A-O-model'],
    ['"…"', 'model'],
    ['"-a"', 'a'],
    [`"${'x'.repeat(300)}"`, 'x'.repeat(190)],
  ])('called %s is called %s, and that is told', async (name, given) => {
    const { models, errors } = await config(list(`{ model_name: ${name}, litellm_params: { model: ollama/a } }`));
    expect([...(models?.keys() ?? [])]).toEqual([given]);
    expect(errors).toContain(`clients ask for ${given} from now on`);
  });

  test('keeps its name when another has to take a new one', async () => {
    const { models } = await config(
      list(
        '{ model_name: a b, litellm_params: { model: ollama/x } }',
        '{ model_name: a-b, litellm_params: { model: ollama/y } }',
      ),
    );
    expect(models?.get('a-b')?.serve).toMatchObject([{ name: 'y' }]);
    expect(models?.get('a-b-2')?.serve).toMatchObject([{ name: 'x' }]);
  });

  test.each(['a $ b', '${HOME}', '$$', 'ünï 1.gguf', 'true', 'a: b', 'a #b', '"q"', "it's"])(
    'is asked for by its own name there: %s',
    async (name) => {
      const { models } = await config(
        `model_list: [{ model_name: m, litellm_params: ${JSON.stringify({ model: `ollama/${name}` })} }]`,
      );
      expect(models?.get('m')?.serve).toEqual([{ backend: 'ollama', name }]);
    },
  );

  test('is published where a pattern stands for it', async () => {
    const { backends, models, errors } = await config(
      list(
        '{ model_name: ollama/*, litellm_params: { model: ollama/* } }',
        '{ model_name: "*", litellm_params: { model: "openai/q*", api_base: "http://rack.lan:8000/v1" } }',
      ),
    );
    expect(models).toBeUndefined();
    expect([...(backends ?? [])].map(([name, { publish }]) => [name, publish])).toEqual([
      ['ollama', ['*']],
      ['rack', ['q*']],
    ]);
    expect(errors).toContain('model_list[0].model_name: models are published under');
    expect(errors).toContain('model_list[1].model_name: only the models that match');
  });

  test('has an alias as a model like it', async () => {
    const { models, errors } = await config(
      `${list('model: ollama/a')}router_settings: { model_group_alias: { gpt-4: m, gpt-5: { model: m, hidden: true }, x: gone, m: m } }\n`,
    );
    expect(models?.get('gpt-4')).toEqual(models?.get('m'));
    expect(models?.get('gpt-5')).toEqual(models?.get('m'));
    expect(models?.size).toBe(3);
    expect(errors).toContain('model_group_alias.gpt-5.hidden: GET /v1/models lists it');
    expect(errors).toContain('model_group_alias.x: the model it stands for is not among');
    expect(errors).toContain('model_group_alias.m: there is a model of this name too');
  });
});

describe('a fallback', () => {
  const abc = list(
    ...['a', 'b', 'c'].map((name) => `{ model_name: ${name}, litellm_params: { model: ollama/${name} } }`),
  );
  const chains = ({ models }: Config): Record<string, readonly string[]> =>
    Object.fromEntries([...(models ?? [])].map(([name, { fallback }]) => [name, fallback]));

  test.each([
    ['router_settings: { fallbacks: [{ a: [b, c] }] }', { a: ['b', 'c'], b: [], c: [] }, ''],
    ['litellm_settings: { fallbacks: [{ a: [b] }, { a: [c] }] }', { a: ['b', 'c'], b: [], c: [] }, ''],
    ['router_settings: { fallbacks: [{ "*": [c] }] }', { a: ['c'], b: ['c'], c: [] }, ''],
    ['router_settings: { fallbacks: [{ a: [{ model: b }] }] }', { a: ['b'], b: [], c: [] }, ''],
    ['router_settings: { default_fallbacks: [c] }', { a: ['c'], b: ['c'], c: [] }, ''],
    ['router_settings: { fallbacks: [{ a: [b] }], default_fallbacks: [c] }', { a: ['b'], b: ['c'], c: [] }, ''],
    ['router_settings: { default_fallbacks: [a, b] }', { a: [], b: ['a'], c: ['a', 'b'] }, ''],
    [
      'router_settings: { fallbacks: [{ a: [b] }, { b: [a] }] }',
      { a: ['b'], b: [], c: [] },
      'fallbacks[1].b[0]: leads back',
    ],
    [
      'router_settings: { fallbacks: [{ a: [b] }, { b: [c] }, { c: [a] }] }',
      { a: ['b'], b: ['c'], c: [] },
      'fallbacks[2].c[0]: leads back',
    ],
    [
      'router_settings: { fallbacks: [{ a: [gone, b, b, a] }] }',
      { a: ['b'], b: [], c: [] },
      'fallbacks[0].a[0]: names a model',
    ],
    ['router_settings: { fallbacks: [{ gone: [a] }] }', { a: [], b: [], c: [] }, 'fallbacks[0].gone: names a model'],
    [
      'router_settings: { fallbacks: [{ a: [b] }] }\nlitellm_settings: { fallbacks: [{ a: [c] }] }',
      { a: ['b'], b: [], c: [] },
      'litellm_settings.fallbacks: router_settings has',
    ],
    ['router_settings: { context_window_fallbacks: [{ a: [b] }] }', { a: [], b: [], c: [] }, 'context_length_exceeded'],
    [
      'router_settings: { fallbacks: [{ a: [b] }], model_group_alias: { z: a, b2: b } }',
      { a: ['b'], b: [], c: [], z: ['b'], b2: [] },
      '',
    ],
    [
      'router_settings: { fallbacks: [{ a: [z] }, { z: [c] }], model_group_alias: { z: b } }',
      { a: ['z'], b: [], c: [], z: ['c'] },
      '',
    ],
  ])('in `%s`', async (text, wanted, told) => {
    const imported = await config(`${abc}${text}\n`);
    expect(chains(imported)).toEqual(wanted);
    expect(imported.errors).toContain(told);
  });
});

describe('a setting', () => {
  const one = list('model: ollama/a, timeout: 30.5');

  test.each([
    ['litellm_settings: { request_timeout: 600 }', { first_byte_ms: 600_000 }],
    ['litellm_settings: { request_timeout: "2.5" }', { first_byte_ms: 2500 }],
    ['router_settings: { timeout: 30 }\nlitellm_settings: { request_timeout: 600 }', { first_byte_ms: 30_000 }],
    ['general_settings: {}', { first_byte_ms: 30_500 }],
    [
      'general_settings: { max_request_size_mb: 64, max_response_size_mb: 8 }',
      { body_bytes_max: 64 << 20, answer_bytes_max: 8 << 20 },
    ],
    [
      'general_settings: { max_parallel_requests: 7 }',
      { ip: { requests: { count: 10, per_ms: 1000 }, burst: 20, parallel: 7 } },
    ],
  ])('`%s` becomes a limit', async (text, limits) => {
    expect((await config(`${one}${text}\n`)).limits).toMatchObject(limits);
  });

  test.each([
    ['redis_host: 10.0.0.3', 'redis://10.0.0.3:6379'],
    [
      'redis_host: os.environ/REDIS_HOST, redis_port: os.environ/REDIS_PORT, redis_password: os.environ/REDIS_PASSWORD',
      'redis://:k@redis.lan:6380',
    ],
    [
      'redis_host: r, redis_port: "6390", redis_db: 2, redis_username: u, redis_password: secret-1, redis_ssl: true',
      'rediss://u:k@r:6390/2',
    ],
    ['redis_url: "redis://10.0.0.3:6379/1", redis_host: r', 'redis://10.0.0.3:6379/1'],
    ['redis_url: "redis://:secret-1@10.0.0.3:6379"', 'redis://10.0.0.3:6379'],
    ['redis_url: "redis://10.0.0.3?password=secret-1"', 'redis://10.0.0.3:6379'],
    ['redis_url: os.environ/REDIS_URL', 'redis://10.0.0.3:6379'],
    ['redis_url: "http://x"', undefined],
    ['redis_host: "a b"', undefined],
    ['redis_port: 6379', undefined],
  ])('`%s` becomes `redis`', async (text, url) => {
    const { yaml, errors } = await importText(`${one}router_settings: { ${text} }\n`);
    expect(load(yaml).redis?.url).toBe(url);
    expect(yaml + errors).not.toContain('secret-1');
    if (url === undefined) expect(errors).toMatch(/router_settings\.redis_\w+: Redis is given by one URL/);
  });

  test('`general_settings.port` becomes the listener', async () => {
    expect((await config(`${one}general_settings: { port: 4010 }\n`)).listen).toMatchObject([{ port: 4010 }]);
  });

  test.each([
    ['litellm_settings: { drop_params: true }', 'Not needed:\n  stdin:3:34 litellm_settings.drop_params'],
    ['router_settings: { routing_strategy: least-busy }', 'Not needed:\n  stdin:3:38 router_settings.routing_strategy'],
    ['router_settings: { routing_strategy: latency-based-routing }', 'there is no other strategy'],
    ['litellm_settings: { success_callback: [langfuse] }', 'litellm_settings.success_callback: there are no callbacks'],
    ['litellm_settings: { made_up: 1 }', 'litellm_settings.made_up: Lanyard has no such setting'],
    ['general_settings: { allowed_ips: [10.0.0.1] }', 'general_settings.allowed_ips: let nginx'],
    ['general_settings: { database_url: "postgres://u:secret-1@db" }', 'To do:'],
    ['include: [b.yaml]', 'include: those files are not read'],
    ['mcp_servers: { a: { url: "http://x" } }', 'mcp_servers: Lanyard has nothing of the kind'],
    [
      'environment_variables: { OPENAI_API_KEY: secret-1 }',
      'environment_variables.OPENAI_API_KEY: nothing in the output reads it',
    ],
  ])('`%s` has its remark', async (text, told) => {
    const { yaml, errors } = await importText(`${one}${text}\n`);
    expect(errors).toContain(told);
    expect(yaml + errors).not.toContain('secret-1');
  });

  test('that stands twice counts as LiteLLM counts it: the last one', async () => {
    const { limits, errors } = await config(`${one}litellm_settings:\n  request_timeout: 10\n  request_timeout: 20\n`);
    expect(limits.first_byte_ms).toBe(20_000);
    expect(errors).toContain('stdin:4:3 litellm_settings.request_timeout: stands again');
  });
});

test('anchors and merged maps are read as PyYAML reads them', async () => {
  const { backends, models } = await config(
    [
      'x-a: &a { api_base: "http://a.lan:8000/v1", api_key: os.environ/A_KEY }',
      'x-b: &b { api_base: "http://b.lan:8000/v1", max_parallel_requests: 2 }',
      'model_list:',
      '  - model_name: m',
      '    litellm_params: { <<: [*a, *b], model: hosted_vllm/x, api_key: os.environ/OWN_KEY }',
      '  - { model_name: n, litellm_params: { <<: *b, model: hosted_vllm/y } }',
    ].join('\n'),
  );
  expect([...(backends ?? [])].map(([name, { url, slots }]) => [name, url, slots])).toEqual([
    ['a', 'http://a.lan:8000/v1', 2],
    ['b', 'http://b.lan:8000/v1', 2],
  ]);
  expect([...(models?.keys() ?? [])]).toEqual(['m', 'n']);
});
