// Whatever a LiteLLM configuration holds: the output loads, no secret leaves the file, and nothing in it is dropped without a
// word. For each value either a remark names it, or what is written changes when the value does.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { importLitellm, type Imported } from '../../src/import/litellm.ts';
import { yaml as write } from '../../src/import/write.ts';
import { body, load } from './imported.ts';

const RUNS = 400;
const SECRET = 'very-secret-8c1f';

test('every configuration comes out as one that loads, and keeps its secrets to itself', () => {
  fc.assert(
    fc.property(file, (value) => {
      const imported = importLitellm(JSON.stringify(value));
      const yaml = write(imported, 'config.yaml');
      expect(() => load(yaml)).not.toThrow();
      expect(yaml).not.toContain(SECRET);
      // A remark is a comment, whatever it is about.
      expect(yaml.split('\nlisten:')[0]).toMatch(/^(#.*\n)*$/);
    }),
    { numRuns: RUNS },
  );
});

test('every value is remarked upon, or changes what is written when it changes', () => {
  let carried = 0;
  fc.assert(
    fc.property(file, (value) => {
      const imported = importLitellm(JSON.stringify(value));
      const before = meaning(imported);
      const remarked = new Set(
        imported.remarks.filter(({ path }) => path.length > 0).map(({ path }) => JSON.stringify(path)),
      );
      for (const { path, leaf } of leaves(value, [])) {
        if (path.some((_, index) => remarked.has(JSON.stringify(path.slice(0, index + 1))))) continue;
        const changed = importLitellm(JSON.stringify(replaced(value, path, other(leaf))));
        expect(meaning(changed), JSON.stringify(path)).not.toBe(before);
        carried += 1;
      }
    }),
    { numRuns: RUNS },
  );
  expect(carried).toBeGreaterThan(RUNS);
});

/** All that is written, places aside: these move with every character. */
function meaning(imported: Imported): string {
  const remarks = imported.remarks.map(({ path, text }) => JSON.stringify([path, text]));
  return [body(write(imported, 'config.yaml')), ...remarks.toSorted()].join('\n');
}

type Step = string | number;

function* leaves(value: unknown, path: readonly Step[]): Generator<{ path: readonly Step[]; leaf: unknown }> {
  if (typeof value !== 'object') yield { path, leaf: value };
  else if (Array.isArray(value)) for (const [index, one] of value.entries()) yield* leaves(one, [...path, index]);
  else if (value !== null) for (const [key, one] of Object.entries(value)) yield* leaves(one, [...path, key]);
}

function replaced(value: unknown, path: readonly Step[], leaf: unknown): unknown {
  const [step, ...rest] = path;
  if (step === undefined) return leaf;
  const inner = replaced(Reflect.get(Object(value), step), rest, leaf);
  if (Array.isArray(value)) return value.map((one, index) => (index === step ? inner : one));
  return Object.fromEntries(Object.entries(Object(value)).map(([key, one]) => [key, key === step ? inner : one]));
}

/** Another value of the same kind. */
function other(leaf: unknown): unknown {
  if (typeof leaf === 'number') return leaf + 1;
  return typeof leaf === 'boolean' ? !leaf : `${String(leaf)}9`;
}

const name = fc.constantFrom(
  'coder',
  'mistral',
  'gpt-4',
  'a b',
  '…',
  'ollama/*',
  '*',
  'x/y:z',
  '4',
  '__proto__',
  'constructor',
);
const model = fc.oneof(
  fc.constantFrom(
    'ollama/a',
    'ollama_chat/a:7b',
    'ollama/*',
    'openai/a',
    'openai/q*',
    'hosted_vllm/org/a',
    'lm_studio/a',
    'vllm/a',
  ),
  fc.constantFrom(
    'gpt-4o',
    'anthropic/c',
    'groq/l',
    'infinity/e',
    'huggingface/t',
    'odd',
    '*',
    'ollama/',
    'ollama/${A} $$',
    'ollama/ü "q"',
  ),
  fc.string(),
);
const base = fc.constantFrom(
  'http://10.0.0.11:11434',
  'http://10.0.0.11:11434/v1',
  'http://rack.lan:8000/v1',
  'https://llm.example.com',
  'http://[fd00::1]:80',
  'os.environ/RACK_URL',
  'os.environ/1',
  '${RACK_URL}',
  `http://u:${SECRET}@h:1/`,
  `http://h:1/v1?k=${SECRET}`,
  'rack:8000',
  'ftp://x',
  'http://',
  ' ',
);
const key = fc.constantFrom(
  'os.environ/K',
  '${K}',
  `\${K:-${SECRET}}`,
  SECRET,
  'none',
  'sk-1234',
  '',
  'os.environ/A-B',
);
const amount = fc.oneof(
  fc.constantFrom<unknown>(0, 1, 2.5, 600, 1e9, '30', '', true, null, 'os.environ/N'),
  fc.integer(),
);
const anything = fc.oneof(fc.jsonValue({ maxDepth: 2 }), fc.constant(SECRET));

const entry = fc.record(
  {
    model_name: name,
    litellm_params: fc.record(
      {
        model,
        api_base: base,
        base_url: base,
        api_key: key,
        custom_llm_provider: fc.constantFrom('openai', 'ollama', 'azure'),
        ...Object.fromEntries(
          [
            'rpm',
            'tpm',
            'timeout',
            'stream_timeout',
            'max_parallel_requests',
            'order',
            'weight',
            'temperature',
            'max_retries',
          ].map((one) => [one, amount]),
        ),
        extra_headers: anything,
        input_cost_per_token: amount,
        something_new: anything,
      },
      { requiredKeys: ['model'] },
    ),
    model_info: fc.record(
      {
        mode: fc.constantFrom('chat', 'embedding', 'rerank'),
        id: anything,
        supports_vision: fc.boolean(),
        base_model: anything,
      },
      { requiredKeys: [] },
    ),
  },
  { requiredKeys: ['model_name', 'litellm_params'] },
);

const chain = fc.array(
  fc.dictionary(name, fc.array(fc.oneof(name, fc.record({ model: name })), { maxLength: 3 }), { maxKeys: 2 }),
  { maxLength: 4 },
);
const shared = {
  fallbacks: fc.oneof(chain, anything),
  default_fallbacks: fc.oneof(fc.array(name, { maxLength: 3 }), anything),
  num_retries: amount,
  something_new: anything,
};

const file = fc.record(
  {
    model_list: fc.oneof(
      { weight: 6, arbitrary: fc.array(entry, { maxLength: 6 }) },
      { weight: 1, arbitrary: fc.array(anything) },
    ),
    router_settings: fc.record(
      {
        ...shared,
        timeout: amount,
        routing_strategy: fc.constantFrom('simple-shuffle', 'latency-based-routing'),
        model_group_alias: fc.dictionary(name, fc.oneof(name, fc.record({ model: name, hidden: fc.boolean() })), {
          maxKeys: 3,
        }),
        redis_url: fc.constantFrom('os.environ/REDIS_URL', `redis://:${SECRET}@r:1`, 'redis://r.lan:6379/1', 'x'),
        redis_host: fc.constantFrom('10.0.0.3', 'os.environ/REDIS_HOST', 'a b', ''),
        redis_port: fc.constantFrom(6379, '6390', 70_000, 'os.environ/REDIS_PORT'),
        redis_password: key,
        redis_username: fc.constantFrom('u', 'a@b'),
        redis_db: fc.constantFrom(2, 'x'),
        redis_ssl: fc.oneof(fc.boolean(), fc.constant('yes')),
        default_max_parallel_requests: amount,
      },
      { requiredKeys: [] },
    ),
    litellm_settings: fc.record(
      {
        ...shared,
        request_timeout: amount,
        drop_params: fc.boolean(),
        callbacks: fc.array(fc.constantFrom('prometheus', 'langfuse')),
        cache: anything,
      },
      { requiredKeys: [] },
    ),
    general_settings: fc.record(
      {
        master_key: fc.oneof(fc.constantFrom('os.environ/MY_MASTER_KEY', SECRET, 'none', 'sk-1234', ''), anything),
        port: amount,
        max_parallel_requests: amount,
        max_request_size_mb: amount,
        max_response_size_mb: amount,
        database_url: fc.constant(`postgres://u:${SECRET}@db`),
        something_new: anything,
      },
      { requiredKeys: [] },
    ),
    environment_variables: fc.dictionary(
      fc.constantFrom('K', 'RACK_URL', 'OPENAI_API_KEY', 'OTHER'),
      fc.constant(SECRET),
    ),
    include: fc.array(fc.constant('b.yaml')),
    something_new: anything,
  },
  { requiredKeys: ['model_list'] },
);
