// The files in config/: that they load, that the example holds every option with its true default, and that the JSON Schema
// says what the code says.
import { readdirSync, readFileSync } from 'node:fs';
import { parseEnv } from 'node:util';
import { describe, expect, test } from 'vitest';
import { isMap, isSeq, parseDocument } from 'yaml';
import { z } from 'zod';
import { jsonSchema } from '../../src/config/json-schema.ts';
import { loadConfig, parseConfig } from '../../src/config/load.ts';

type Schema = z.core.JSONSchema.BaseSchema;

const STRONG = 'sk-lanyard-Qm9vdHN0cmFwLW9mLWEtc3Ryb25nLWtleS0x';
const ENV = {
  LITELLM_MASTER_KEY: STRONG,
  // What config/examples/token-exchange.yaml cannot do without.
  TOKEN_URL: 'https://auth.example.org/token',
  AUTH_CODE: 'code',
  CHAT_API_URL: 'https://api.example.org/chat',
  EMBEDDING_API_URL: 'https://api.example.org/embeddings',
  // And config/examples/batch.yaml.
  OPENAI_API_KEY: 'sk-of-the-team-at-openai',
};
const at = (path: string): string => new URL(`../../${path}`, import.meta.url).pathname;
const text = (path: string): string => readFileSync(at(path), 'utf8');
const schema = z.fromJSONSchema(JSON.parse(jsonSchema()));

const FILES = [
  'config/lanyard.yaml',
  'config/lanyard.example.yaml',
  ...readdirSync(at('config/examples')).map((name) => `config/examples/${name}`),
];

describe.each(FILES)('%s', (path) => {
  test('loads', () => {
    expect(loadConfig(at(path), ENV).listen.length).toBeGreaterThan(0);
  });

  test('tells editors its schema, and is valid by it', () => {
    const up = path.includes('examples/') ? '../' : './';
    expect(text(path).split('\n')[0]).toBe(`# yaml-language-server: $schema=${up}lanyard.schema.json`);
    expect(schema.safeParse(parseDocument(text(path)).toJS()).error?.issues).toBeUndefined();
  });
});

test('lanyard.yaml as shipped holds only `listen`, and means the defaults', () => {
  expect(Object.keys(parseDocument(text('config/lanyard.yaml')).toJS() as object)).toEqual(['listen']);
  expect(loadConfig(at('config/lanyard.yaml'), {})).toEqual(parseConfig('', 'f.yaml', {}));
});

test('what lanyard.yaml has in comments loads too', () => {
  const lines = text('config/lanyard.yaml').split('\n');
  const begin = lines.indexOf('# backends:');
  const uncommented = lines.map((line, index) =>
    index >= begin && !/^# [A-Z]/.test(line) ? line.replace(/^# ?/, '') : line,
  );
  const config = parseConfig(uncommented.join('\n'), 'f.yaml', {});
  expect([...(config.backends ?? new Map()).keys()]).toEqual(['desk', 'rack']);
  expect(config.models?.get('deepseek-coder')?.serve).toHaveLength(2);
});

describe('lanyard.example.yaml', () => {
  const example = text('config/lanyard.example.yaml');
  const lines = example.split('\n');
  const document = parseDocument(example);
  const options = optionsOf(JSON.parse(jsonSchema()) as Schema, [document.contents], '');

  test.each(options.map(({ path, line, fallback }) => [path, line, fallback] as const))(
    'holds %s, and states its default',
    (_, offset, fallback) => {
      expect(offset).toBeDefined();
      if (fallback === undefined) return;
      const line = lines[example.slice(0, offset).split('\n').length - 1] ?? '';
      const stated = /default: (\S+?)[.,;]?(?=\s|$)/.exec(line)?.[1];
      expect(stated).toBe(typeof fallback === 'string' ? fallback : JSON.stringify(fallback));
    },
  );

  test('covers every option there is', () => {
    expect(options.length).toBeGreaterThan(50);
  });

  test('changes no default of the sections that have them', () => {
    const [shown, empty] = [loadConfig(at('config/lanyard.example.yaml'), {}), parseConfig('', 'f.yaml', {})];
    const { listen, auth_failures, limits, redis, cors_origins, metrics_allow, metrics_certificates, log_level } =
      shown;
    const settings = {
      listen,
      auth_failures,
      limits,
      redis,
      cors_origins,
      metrics_allow,
      metrics_certificates,
      log_level,
    };
    expect({ ...empty, ...settings }).toEqual(empty);
  });
});

describe('lanyard.schema.json', () => {
  test('is what `node scripts/schema.ts` writes today', () => {
    expect(text('config/lanyard.schema.json')).toBe(jsonSchema());
  });

  test.each([
    '',
    'listen: [{ port: "${PORT:-4000}" }]',
    'limits: { ip: off, drain_ms: 500, body_bytes_max: 1MB }',
    'redis: ""',
  ])('accepts what the code accepts: %j', (yaml) => {
    expect(schema.safeParse(parseDocument(yaml).toJS()).success).toBe(true);
    expect(parseConfig(yaml, 'f.yaml', {})).toBeDefined();
  });

  test.each([
    'listens: []',
    'listen: [{ port: 70000 }]',
    'limits: { drain_ms: 5d }',
    'log: { level: info }',
    'auth: { keys: [{ name: a }] }',
  ])('refuses what the code refuses: %j', (yaml) => {
    expect(schema.safeParse(parseDocument(yaml).toJS()).success).toBe(false);
    expect(() => parseConfig(yaml, 'f.yaml', {})).toThrow();
  });
});

describe('.env.example', () => {
  test('sets nothing: the secrets are there to be filled in', () => {
    expect({ ...parseEnv(text('.env.example')) }).toEqual({ LITELLM_MASTER_KEY: '', GRAFANA_PASSWORD: '' });
  });

  test.each(['REDIS_URL', 'VLLM_KEY', 'PORT', 'LOG_LEVEL'])('offers %s', (name) => {
    expect(text('.env.example')).toMatch(new RegExp(`^# ${name}=`, 'm'));
  });
});

interface Option {
  readonly path: string;
  /** Where its key stands in the example; `undefined`: nowhere. */
  readonly line: number | undefined;
  readonly fallback: unknown;
}

/** Every option of the schema, beside the place where the example has it. */
function optionsOf(schema: Schema, nodes: readonly unknown[], path: string): Option[] {
  const forms = (schema.anyOf ?? []).flatMap((form) => optionsOf(form, nodes, path));
  const maps = nodes.filter(isMap);
  const named = Object.entries(schema.properties ?? {}).flatMap(([key, value]) => {
    const pairs = maps.flatMap(({ items }) => items.filter((pair) => String(pair.key) === key));
    const where = pairs.map((pair) => (pair.key as { range: [number, number, number] }).range[0]);
    const inner = value as Schema;
    // A default of many parts is stated at the parts.
    const simple = typeof inner.default !== 'object' || (Array.isArray(inner.default) && inner.default.length === 0);
    const own = { path: `${path}.${key}`, line: where[0], fallback: simple ? inner.default : undefined };
    const values = pairs.map(({ value }) => value);
    return [own].concat(optionsOf(inner, values, own.path));
  });
  const listed = nodes.filter(isSeq).flatMap(({ items }) => items);
  const items = schema.items === undefined ? [] : optionsOf(schema.items as Schema, listed, `${path}[]`);
  const rest = schema.additionalProperties;
  const mapped = maps.flatMap((map) => map.items.map(({ value }) => value));
  const values = typeof rest === 'object' ? optionsOf(rest, mapped, `${path}.*`) : [];
  return [...forms, ...named, ...items, ...values];
}
