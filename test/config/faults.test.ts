// What a wrong file is told: every fault with its exact place and words.
import { describe, expect, test } from 'vitest';
import { faultsOf } from './faults-of.ts';

const HASH_A = `sha256:${'0123456789abcdef'.repeat(4)}`;
const STRONG = 'sk-lanyard-Qm9vdHN0cmFwLW9mLWEtc3Ryb25nLWtleS0x';
const BACKENDS = 'backends:\n  desk: { url: "http://10.0.0.11:11434" }\n';

const NUMBER = 'must be a whole number from';
const RATE = 'must be a rate such as 10/s, 30/min or 500/h: a whole number from 1 to 1000000, per s, min or h';
const ORIGIN =
  'must be one origin as browsers send it: scheme://host or scheme://host:port, lower case, no path, no default port, never *';
const URL =
  'must be an http:// or https:// URL such as http://10.0.0.11:11434, with no user or password (use `key`), query or fragment';
const REDIS =
  'must be empty (no Redis) or a URL such as redis://127.0.0.1:6379/0, rediss://… for TLS, or unix:///run/redis.sock';
const OPEN =
  'listen[0].auth is open to everyone who reaches this address: listen on 127.0.0.1, take auth: required, or say exposed: true beside it';
const NAME = 'must be 1 to 64 letters, digits or . _ -, not `master` or `open`, and never the key itself';
const TOP = 'Allowed here: listen, auth, limits, redis, database, batch, cache, backends, models, cors, metrics, log';

describe('one option at fault', () => {
  test.each<[what: string, text: string, fault: string]>([
    ['an unknown key', 'lissen: []', `1:1 unknown key "lissen"; did you mean "listen"? ${TOP}`],
    ['an unknown key like no other', 'xyzzy: 1', `1:1 unknown key "xyzzy"; ${TOP}`],
    [
      'an unknown key within',
      'limits:\n  ip: { burts: 3 }',
      '2:9 unknown key "burts"; did you mean "burst"? Allowed here: requests, burst, parallel',
    ],
    [
      'a file that is no map',
      '- 1',
      '1:1 the file must be a map of listen, auth, limits, redis, database, batch, cache, backends, models, cors, metrics, log',
    ],
    [
      'no listener',
      'listen: []',
      '1:9 listen is empty: remove the line to listen on 127.0.0.1:4000, or add a listener',
    ],
    [
      'a section without content',
      'limits:\n',
      '1:1 limits has nothing after the colon: remove the line, or complete it; it must be a map of ip, trusted_proxies, body_bytes_max, bodies_bytes_max, answer_bytes_max, headers_ms, body_idle_ms, queue_wait_ms, queue_length, connect_ms, load_ms, first_byte_ms, idle_ms, keep_alive_ms, reader_idle_ms, drain_ms, connections_max',
    ],
    ['a missing port', 'listen:\n  - host: 0.0.0.0', `2:5 listen[0] needs \`port\`, which ${NUMBER} 0 to 65535`],
    ['a port too high', 'listen: [{ port: 65536 }]', `1:18 listen[0].port ${NUMBER} 0 to 65535`],
    ['half a port', 'listen: [{ port: 4000.5 }]', `1:18 listen[0].port ${NUMBER} 0 to 65535`],
    ['a word for a port', 'listen: [{ port: http }]', `1:18 listen[0].port ${NUMBER} 0 to 65535`],
    [
      'a host that is a URL',
      'listen: [{ port: 1, host: "http://x" }]',
      '1:27 listen[0].host must be an address or a host name to listen on, such as 127.0.0.1, 0.0.0.0, "::1" or localhost',
    ],
    ['an open door to others', 'listen: [{ port: 1, host: 0.0.0.0, auth: open }]', `1:42 ${OPEN}`],
    ['an open door to a named host', 'listen: [{ port: 1, host: gpu.lan, auth: open }]', `1:42 ${OPEN}`],
    [
      'an unknown auth',
      'listen: [{ port: 1, auth: opn }]',
      '1:27 listen[0].auth must be required or open; did you mean "open"?',
    ],
    [
      'two listeners at one place',
      'listen:\n  - port: 4000\n  - { port: "4000", host: 127.0.0.1 }',
      '3:13 listen[1].port is the address and port of listen[0] too: change one of them',
    ],
    ['a word for a flag', 'listen: [{ port: 1, exposed: yes }]', '1:30 listen[0].exposed must be true or false'],
    ['a rate without a unit', 'auth: { failures: 30 }', `1:19 auth.failures ${RATE}`],
    ['a rate of nothing', 'auth: { failures: 0/s }', `1:19 auth.failures ${RATE}`],
    ['a rate per day', 'auth: { failures: 1/day }', `1:19 auth.failures ${RATE}`],
    [
      'a duration with an unknown unit',
      'limits: { drain_ms: 5d }',
      '1:21 limits.drain_ms must be a duration such as 250ms, 5s, 10m or 1h, or whole milliseconds, from 0ms to 596h',
    ],
    [
      'a duration no timer can hold',
      'limits: { idle_ms: 597h }',
      '1:20 limits.idle_ms must be a duration such as 250ms, 5s, 10m or 1h, or whole milliseconds, from 1ms to 596h',
    ],
    [
      'a size below one byte',
      'limits: { body_bytes_max: 0 }',
      '1:27 limits.body_bytes_max must be a size such as 64KiB, 32MiB or 10MB, or whole bytes, from 1 to 2147483647',
    ],
    [
      'a word that is not off',
      'limits: { ip: none }',
      '1:15 limits.ip must be a map of requests, burst, parallel; or off',
    ],
    ['a number for a rate by address', 'limits: { ip: { requests: 5 } }', `1:27 limits.ip.requests ${RATE}`],
    [
      'a proxy range that is everyone',
      'limits: { trusted_proxies: [10.0.0.0/8, "::/0"] }',
      '1:41 limits.trusted_proxies[1] would trust every address on earth to say who it is; name the proxies',
    ],
    [
      'a range with too many bits',
      'metrics: { allow: [10.0.0.0/33] }',
      '1:20 metrics.allow[0] must be an address or a range, such as 127.0.0.1, 10.0.0.0/8, "::1" or "fd00::/8"',
    ],
    [
      'a certificate without a path',
      'metrics: { certificates: [""] }',
      '1:27 metrics.certificates[0] must be the path of a file',
    ],
    [
      'one certificate that is no list',
      'metrics: { certificates: a.pem }',
      '1:26 metrics.certificates must be a list of files',
    ],
    ['a reserved name', `auth: { keys: [{ name: master, hash: "${HASH_A}" }] }`, `1:24 auth.keys[0].name ${NAME}`],
    [
      'the key for its name',
      `auth: { keys: [{ name: ${STRONG}, hash: "${HASH_A}" }] }`,
      `1:24 auth.keys[0].name ${NAME}`,
    ],
    [
      'a key without its hash',
      'auth:\n  keys:\n    - name: alice',
      '3:7 auth.keys[0] needs `hash`, which must be "sha256:" and 64 hexadecimal digits; `lanyard key NAME` prints it',
    ],
    [
      'the hash of sk-1234',
      'auth: { keys: [{ name: a, hash: "sha256:88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b" }] }',
      '1:33 auth.keys[0].hash is the hash of an empty or well-known key; `lanyard key NAME` makes a strong one',
    ],
    [
      'two keys of one name',
      `auth:\n  keys:\n    - { name: a, hash: "${HASH_A}" }\n    - { name: a, hash: "${HASH_A.replace('0', '1')}" }`,
      '4:15 auth.keys[1].name is the name of auth.keys[0] too: every key has its own',
    ],
    [
      'two names of one key',
      `auth:\n  keys:\n    - { name: a, hash: "${HASH_A}" }\n    - { name: b, hash: "${HASH_A}" }`,
      '4:24 auth.keys[1].hash is the hash of auth.keys[0] too: make a key for each with `lanyard key NAME`',
    ],
    [
      'a key that may use nothing',
      `auth: { keys: [{ name: a, hash: "${HASH_A}", models: [] }] }`,
      '1:116 auth.keys[0].models is empty, which allows nothing: remove the line to allow every model',
    ],
    [
      'a burst without a rate',
      `auth: { keys: [{ name: a, hash: "${HASH_A}", limits: { burst: 3 } }] }`,
      '1:125 auth.keys[0].limits.burst means nothing without `requests`: add a rate, or remove it',
    ],
    [
      'a default model that is not there',
      `${BACKENDS}models: { coder: [desk/x] }\nauth: { keys: [{ name: a, hash: "${HASH_A}", default_model: codr }] }`,
      '4:123 auth.keys[0].default_model is not one of the models of this file; did you mean "coder"?',
    ],
    ['a Redis that is none', 'redis: http://127.0.0.1', `1:8 redis ${REDIS}`],
    [
      'a password of Redis’ with a bare %',
      'redis: "redis://:p%ssword@127.0.0.1/0"',
      '1:8 redis has a % that begins no escape: write each % of the password as %25',
    ],
    ['a Redis that is none, in a map', 'redis: { url: 127.0.0.1 }', `1:15 redis.url ${REDIS}`],
    [
      'a number for Redis',
      'redis: 6379',
      '1:8 redis must be a URL such as redis://127.0.0.1:6379/0, empty for none, or a map of url, gateways, fail',
    ],
    ['a wrong fail', 'redis: { url: "", fail: open }', '1:25 redis.fail must be local or closed'],
    ['no backends', 'backends: {}', '1:11 backends is empty: remove the line, or name one of the backends'],
    ['no models', 'models: {}', '1:9 models is empty: remove the line, or name one of the models'],
    [
      'a backend without a URL',
      'backends:\n  desk: { slots: 3 }',
      '2:9 backends.desk.url is missing: where does it listen? An http:// or https:// URL such as http://10.0.0.11:11434',
    ],
    ['a backend URL with a password', 'backends: { d: { url: "http://u:hunter2@h" } }', `1:23 backends.d.url ${URL}`],
    ['a backend URL with a query', 'backends: { d: { url: "http://h/?a=b" } }', `1:23 backends.d.url ${URL}`],
    ['a backend URL with a fragment', 'backends: { d: { url: "http://h/#" } }', `1:23 backends.d.url ${URL}`],
    ['a backend URL without a scheme', 'backends: { d: { url: "h:8000" } }', `1:23 backends.d.url ${URL}`],
    ['a backend URL that is a file', 'backends: { d: { url: "file:///etc/passwd" } }', `1:23 backends.d.url ${URL}`],
    [
      'an unknown engine',
      'backends: { d: { url: "http://h", engine: olama } }',
      '1:43 backends.d.engine must be ollama, vllm, llama.cpp, lmstudio, sglang, openvino, tei, infinity, openai, token-exchange or auto; did you mean "ollama"?',
    ],
    [
      'a backend name with a slash',
      'backends: { "a/b": { url: "http://h" } }',
      '1:13 backends["a/b"] must be 1 to 64 letters, digits or . _ -',
    ],
    [
      'a deployment without a slash',
      `${BACKENDS}models: { m: [desk] }`,
      '3:15 models.m[0] must be `backend/name-there`: a backend of this file, a slash, and the model’s name on it; or a map of deployment and options',
    ],
    [
      'a deployment on an unknown backend',
      `${BACKENDS}models: { m: [dsek/x] }`,
      '3:15 models.m[0] names an unknown backend "dsek"; did you mean "desk"? Backends of this file: desk',
    ],
    [
      'models without backends',
      'models: { m: { serve: [desk/x] } }',
      '1:24 models.m.serve[0] names the backend "desk", and the file has no `backends:`: add it there',
    ],
    [
      'one deployment twice',
      `${BACKENDS}models: { m: [desk/x, desk/y, desk/x] }`,
      '3:31 models.m[2] is models.m[0] again: name each deployment once',
    ],
    [
      'an unknown fallback',
      `${BACKENDS}models: { qwen-coder: { serve: [desk/x], fallback: [qwen-codr] } }`,
      '3:53 models.qwen-coder.fallback[0] names an unknown model "qwen-codr"; did you mean "qwen-coder"? it must be one of `models`',
    ],
    [
      'fallbacks in a circle',
      `${BACKENDS}models:\n  a: { serve: [desk/x], fallback: [b] }\n  b: { serve: [desk/x], fallback: [c] }\n  c: { serve: [desk/x], fallback: [a] }`,
      '6:36 models.c.fallback[0] leads back to where it began: a → b → c → a',
    ],
    [
      'a model that is its own fallback',
      `${BACKENDS}models: { a: { serve: [desk/x], fallback: [a] } }`,
      '3:44 models.a.fallback[0] leads back to where it began: a → a',
    ],
    ['every origin', 'cors: { origins: ["*"] }', `1:19 cors.origins[0] ${ORIGIN}`],
    ['an origin with a path', 'cors: { origins: ["https://x.org/"] }', `1:19 cors.origins[0] ${ORIGIN}`],
    ['an origin with its default port', 'cors: { origins: ["https://x.org:443"] }', `1:19 cors.origins[0] ${ORIGIN}`],
    ['an origin in capitals', 'cors: { origins: ["https://X.org"] }', `1:19 cors.origins[0] ${ORIGIN}`],
    ['an origin with a wildcard', 'cors: { origins: ["https://*.x.org"] }', `1:19 cors.origins[0] ${ORIGIN}`],
    ['the origin null', 'cors: { origins: ["null"] }', `1:19 cors.origins[0] ${ORIGIN}`],
    [
      'a level in small letters',
      'log: { level: info }',
      '1:15 log.level must be DEBUG, INFO, WARNING or ERROR; did you mean "INFO"?',
    ],
    ['a name that means something else', '__proto__: { x: 1 }', '1:1 a key may not be called __proto__'],
    ['a key from the environment', '"${HOME}": 1', '1:1 only values read the environment: write this key out'],
  ])('%s', (_, text, fault) => {
    expect(faultsOf(text)).toEqual([`f.yaml:${fault}`]);
  });
});

describe('many faults at once', () => {
  test('all of them are told, in the order of the file, across sections and across kinds of fault', () => {
    const text = [
      'listen:',
      '  - { port: 0x1ffff, hots: 127.0.0.1 }',
      'auth:',
      '  master_key: ${NO_SUCH}',
      'redis: ""',
      'redis: ""',
      'backends:',
      '  rack: { url: 10.0.0.1 }',
      'models:',
      '  m: [rakc/x]',
      '  n: { serv: [rack/x], fallback: [o] }',
    ].join('\n');
    expect(faultsOf(text, { PORT: 'many', LOG_LEVEL: 'info' })).toEqual([
      `f.yaml:2:13 listen[0].port ${NUMBER} 0 to 65535`,
      'f.yaml:2:22 unknown key "hots"; did you mean "host"? Allowed here: port, host, auth, exposed, mode',
      'f.yaml:4:15 auth.master_key reads NO_SUCH, which is not set; set it in the environment or in .env, or write ${NO_SUCH:-default}',
      'f.yaml:6:1 this key stands twice in one map: keep one',
      `f.yaml:8:16 backends.rack.url ${URL}`,
      'f.yaml:10:7 models.m[0] names an unknown backend "rakc"; did you mean "rack"? Backends of this file: rack',
      'f.yaml:11:6 models.n needs `serve`, which must be a list of deployments',
      'f.yaml:11:8 unknown key "serv"; did you mean "serve"? Allowed here: serve, fallback, metadata, mode',
      'f.yaml:11:35 models.n.fallback[0] names an unknown model "o": it must be one of `models`',
      'environment: PORT must be a whole number from 0 to 65535',
      'environment: LOG_LEVEL must be DEBUG, INFO, WARNING or ERROR; did you mean "INFO"?',
    ]);
  });
});
