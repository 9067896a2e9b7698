// From a file to a `Config`: the defaults, and what each section comes to mean.
import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { parseConfig } from '../../src/config/load.ts';
import type { Config } from '../../src/types.ts';

const STRONG = 'sk-lanyard-Qm9vdHN0cmFwLW9mLWEtc3Ryb25nLWtleS0x';
const HASH = `sha256:${'0123456789abcdef'.repeat(4)}`;
const BACKENDS = 'backends:\n  desk: { url: "http://10.0.0.11:11434" }\n';

const DEFAULTS: Config = {
  listen: [{ port: 4000, host: '127.0.0.1', auth: 'required', mode: 'direct' }],
  keys: [],
  auth_failures: { count: 30, per_ms: 60_000 },
  limits: {
    ip: { requests: { count: 10, per_ms: 1000 }, burst: 20, parallel: 100 },
    trusted_proxies: [],
    body_bytes_max: 33_554_432,
    bodies_bytes_max: 1_073_741_824,
    answer_bytes_max: 67_108_864,
    headers_ms: 10_000,
    body_idle_ms: 30_000,
    queue_wait_ms: 10_000,
    queue_length: 100,
    connect_ms: 2000,
    load_ms: 600_000,
    first_byte_ms: 600_000,
    idle_ms: 300_000,
    keep_alive_ms: 15_000,
    reader_idle_ms: 120_000,
    drain_ms: 30_000,
    connections_max: 8000,
  },
  redis: undefined,
  backends: undefined,
  models: undefined,
  cors_origins: [],
  metrics_allow: [],
  metrics_certificates: [],
  log_level: 'INFO',
  database: undefined,
  batch: undefined,
  cache: undefined,
};

function parse(text: string, env: Record<string, string> = {}): Config {
  return parseConfig(text, 'f.yaml', env);
}

function sha256(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

describe('a configuration', () => {
  test.each([
    '',
    '# only a comment\n',
    '---\n',
    '~',
    '{}',
    '\u{feff}{}',
    'auth: {}\nlimits: {}\ncors: {}\nmetrics: {}\nlog: {}\n',
  ])('that says nothing has the defaults: %j', (text) => {
    expect(parse(text)).toEqual(DEFAULTS);
  });

  test('in Windows line ends is the same one', () => {
    expect(parse('limits:\r\n  ip: off\r\n').limits.ip).toBeUndefined();
  });

  test('names its listeners', () => {
    const text =
      'listen: [{ port: 0 }, { port: 0 }, { port: 4001, host: "::", auth: open, exposed: true }, { port: 5, host: localhost, auth: open }]';
    expect(parse(text).listen).toEqual([
      { port: 0, host: '127.0.0.1', auth: 'required', mode: 'direct' },
      { port: 0, host: '127.0.0.1', auth: 'required', mode: 'direct' },
      { port: 4001, host: '::', auth: 'open', mode: 'direct' },
      { port: 5, host: 'localhost', auth: 'open', mode: 'direct' },
    ]);
  });

  test('keeps what a key may do, and of the key only the digest', () => {
    const config = parse(
      `auth:\n  master_key: ${STRONG}\n  failures: 5/s\n  keys:\n    - { name: alice, hash: "${HASH}", models: ["deepseek-*"], default_model: deepseek-coder, limits: { requests: 5/s, parallel: 4 } }\n    - { name: bob, hash: "${HASH.replace('0', '1').toUpperCase().replace('SHA', 'sha')}", limits: { parallel: 1 } }`,
    );
    const [master, alice, bob] = config.keys;
    expect(config.auth_failures).toEqual({ count: 5, per_ms: 1000 });
    expect(master).toEqual({
      name: 'master',
      digest: sha256(STRONG),
      models: undefined,
      default_model: undefined,
      limits: undefined,
    });
    expect(alice).toEqual({
      name: 'alice',
      digest: Buffer.from('0123456789abcdef'.repeat(4), 'hex'),
      models: ['deepseek-*'],
      default_model: 'deepseek-coder',
      limits: { requests: { count: 5, per_ms: 1000 }, burst: 10, parallel: 4 },
    });
    expect(bob?.limits).toEqual({ requests: undefined, burst: 0, parallel: 1 });
    expect(JSON.stringify(config)).not.toContain(STRONG);
  });

  test.each([
    ['off', undefined],
    ['{}', DEFAULTS.limits.ip],
    ['{ requests: 50/s }', { requests: { count: 50, per_ms: 1000 }, burst: 100, parallel: 100 }],
    ['{ requests: 1/min }', { requests: { count: 1, per_ms: 60_000 }, burst: 1, parallel: 100 }],
    ['{ burst: 0 }', { requests: { count: 10, per_ms: 1000 }, burst: 0, parallel: 100 }],
    ['{ parallel: 5 }', { requests: { count: 10, per_ms: 1000 }, burst: 20, parallel: 5 }],
  ])('limits addresses by `ip: %s`, and what is left out keeps its default', (text, ip) => {
    expect(parse(`limits: { ip: ${text} }`).limits.ip).toEqual(ip);
  });

  test.each([
    ['""', undefined],
    ['', undefined],
    ['${REDIS_URL:-}', undefined],
    ['{ url: "" }', undefined],
    ['redis://10.0.0.3:6379/0', { url: 'redis://10.0.0.3:6379/0', gateways: 1, fail: 'local' }],
    ['rediss://u:p@redis.lan', { url: 'rediss://u:p@redis.lan', gateways: 1, fail: 'local' }],
    ['unix:///run/redis.sock', { url: 'unix:///run/redis.sock', gateways: 1, fail: 'local' }],
    ['{ url: "redis://h", gateways: 2, fail: closed }', { url: 'redis://h', gateways: 2, fail: 'closed' }],
  ])('takes `redis: %s`', (text, redis) => {
    expect(parse(`redis: ${text}`).redis).toEqual(redis);
  });

  test('names backends as they were written', () => {
    const config = parse(
      'backends:\n  desk: { url: "http://10.0.0.11:11434", key: "" }\n  4.x_y-z: { engine: vllm, url: "https://[fd00::1]:8000/v1/", key: k, slots: 32, publish: ["*"] }',
    );
    expect([...(config.backends ?? [])]).toEqual([
      [
        'desk',
        { engine: 'auto', url: 'http://10.0.0.11:11434', key: undefined, slots: undefined, publish: [], streams: true },
      ],
      [
        '4.x_y-z',
        { engine: 'vllm', url: 'https://[fd00::1]:8000/v1/', key: 'k', slots: 32, publish: ['*'], streams: true },
      ],
    ]);
  });

  test('splits a deployment at its first slash, and names models as they are written', () => {
    const config = parse(
      `${BACKENDS}models:\n  1.10: [desk/a/b:c]\n  org/name:q4: { serve: ["desk/My Model.gguf"], fallback: ["1.10"] }\n  constructor: [desk/x]\n`,
    );
    expect([...(config.models ?? [])]).toEqual([
      ['1.10', { serve: [{ backend: 'desk', name: 'a/b:c' }], fallback: [], metadata: {} }],
      ['org/name:q4', { serve: [{ backend: 'desk', name: 'My Model.gguf' }], fallback: ['1.10'], metadata: {} }],
      ['constructor', { serve: [{ backend: 'desk', name: 'x' }], fallback: [], metadata: {} }],
    ]);
  });

  test('lets two models share a fallback: that is no circle', () => {
    const text = `${BACKENDS}models:\n  a: { serve: [desk/x], fallback: [b, c] }\n  b: { serve: [desk/x], fallback: [c] }\n  c: [desk/x]\n`;
    expect(parse(text).models?.get('a')?.fallback).toEqual(['b', 'c']);
  });

  test('lets a default model be one that a backend publishes', () => {
    const text = `backends: { d: { url: "http://h", publish: ["*"] } }\nmodels: { m: [d/x] }\nauth: { keys: [{ name: a, hash: "${HASH}", default_model: other }] }`;
    expect(parse(text).keys[0]?.default_model).toBe('other');
  });

  test('takes origins, ranges and files', () => {
    const config = parse(
      'cors: { origins: ["https://chat.example.org", "http://localhost:3000", "tauri://localhost", "app://obsidian.md"] }\nmetrics: { allow: [10.0.0.5, 0.0.0.0/0], certificates: [certs/fullchain.pem] }\nlimits: { trusted_proxies: [127.0.0.1, "::1", 172.16.0.0/12, "fd00::/8"] }',
    );
    expect(config.cors_origins).toHaveLength(4);
    expect(config.metrics_allow).toEqual(['10.0.0.5', '0.0.0.0/0']);
    expect(config.metrics_certificates).toEqual(['certs/fullchain.pem']);
    expect(config.limits.trusted_proxies).toEqual(['127.0.0.1', '::1', '172.16.0.0/12', 'fd00::/8']);
  });

  test('may use anchors and aliases', () => {
    const config = parse('backends:\n  a: &box { engine: vllm, url: "http://h" }\n  b: *box\n');
    expect(config.backends?.get('b')?.engine).toBe('vllm');
  });
});
