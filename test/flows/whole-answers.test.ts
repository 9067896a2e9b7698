// Unstreamed: the call arrives at the backend as its caller wrote it, the answer at the caller as the engine wrote it,
// but for the few bytes that are meant to change.
import { describe, expect, test } from 'vitest';
import type { Fault } from '../engines/engine.ts';
import { ENGINE_KINDS } from '../engines/kinds.ts';
import { call } from '../stage/caller.ts';
import { openLine } from '../stage/line.ts';

const CHAT = '/v1/chat/completions';
const MESSAGES = '"messages":[{"role":"user","content":"Hi"}]';

describe('a request body arrives at the backend byte for byte, but for the model', () => {
  const rows: [string, string][] = [
    [
      'temperature 0 and a stop that looks like a comment',
      `{"model":"coder",${MESSAGES},"temperature": 0,"stop": "###"}`,
    ],
    [
      'unknown fields and their order',
      `{"zz":1,${MESSAGES},"chat_template_kwargs":{"enable_thinking":false},"model":"coder","aa":null}`,
    ],
    [
      'numbers no double can hold',
      `{"model":"coder",${MESSAGES},"seed":12345678901234567890,"x":1.0000000000000000000001,"y":1E400,"z":-0}`,
    ],
    [
      'escapes',
      `{"model":"coder","messages":[{"role":"user","content":"\\u00e9\\ud83c\\udf0d\\/\\"\\n"}],"stop":["\\u0000"]}`,
    ],
    ['raw characters of every width', `{"model":"coder","messages":[{"role":"user","content":"aé世🌍"}]}`],
    ['white space', `\r\n {\n\t"model" : "coder" ,\n\t${MESSAGES}\n}\n`],
    ['a field given twice', `{"model":"coder",${MESSAGES},"user":"a","user":"b"}`],
    ['a model within a model', `{"metadata":{"model":"coder"},"model":"coder",${MESSAGES}}`],
    ['both names for the most tokens', `{"model":"coder",${MESSAGES},"max_tokens":7,"max_completion_tokens":5}`],
  ];
  test.for(rows)('%s', async ([, body]) => {
    const { engine, gateway, model } = await openLine();
    const caller = await call(gateway.port, CHAT, body);
    expect((await caller.head).status).toBe(200);
    const at = body.lastIndexOf('"coder"');
    expect(engine.asked[0]?.body.toString()).toBe(
      `${body.slice(0, at)}${JSON.stringify(model)}${body.slice(at + '"coder"'.length)}`,
    );
  });

  test('twenty megabytes', async () => {
    const { engine, gateway, model } = await openLine();
    const image = 'A'.repeat(20 << 20);
    const make = (name: string): string =>
      `{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:;base64,${image}"}}]}],"model":"${name}"}`;
    expect((await (await call(gateway.port, CHAT, make('coder'))).head).status).toBe(200);
    expect(engine.asked[0]?.body.equals(Buffer.from(make(model)))).toBe(true);
  });
});

describe('Ollama is told the most tokens by the name it knows', () => {
  const rows: [string, string, string][] = [
    ['the newer name is renamed in its place', '"max_completion_tokens": 3,"seed":1', '"max_tokens": 3,"seed":1'],
    ['the older one stays', '"max_tokens":3', '"max_tokens":3'],
    ['of both the newer is meant', '"max_tokens":7,"max_completion_tokens":3', '"max_tokens":3'],
  ];
  test.for(rows)('%s', async ([, sent, arrived]) => {
    const { engine, gateway, model } = await openLine({ kind: 'ollama' });
    const caller = await call(gateway.port, CHAT, `{"model":"coder",${MESSAGES},${sent}}`);
    const answer = JSON.parse(await caller.whole()) as { usage: { completion_tokens: number } };
    expect(engine.asked[0]?.body.toString()).toBe(`{"model":"${model}",${MESSAGES},${arrived}}`);
    expect(answer.usage.completion_tokens).toBe(3);
  });
});

test('only what the gateway itself means to say goes up in the headers', async () => {
  const { engine, gateway, chat } = await openLine({
    key: 'sk-of-the-engine-0123',
    backend: 'key: "sk-of-the-engine-0123"',
  });
  const headers = {
    'x-request-id': 'http://169.254.169.254/',
    'x-api-key': '',
    cookie: 'a=b',
    'x-forwarded-for': '6.6.6.6',
    'openai-organization': 'org',
    'accept-encoding': 'gzip',
    authorization_: 'x',
  };
  const caller = await call(gateway.port, CHAT, chat({ stream: false }), { headers });
  const had = await caller.head;
  expect(had.status).toBe(200);
  const { authorization, 'x-request-id': id, ...sent } = engine.asked[0]?.headers ?? {};
  expect(authorization).toBe('Bearer sk-of-the-engine-0123');
  expect(id).toBe(had.headers['x-request-id']);
  expect(Object.keys(sent).toSorted()).toEqual([
    'accept',
    'accept-encoding',
    'connection',
    'content-length',
    'content-type',
    'host',
    'user-agent',
  ]);
  expect(sent['accept-encoding']).toBe('identity');
});

describe('an answer comes back untouched', () => {
  // OpenVINO Model Server gives no `id`: see flows/alike.
  test.for(ENGINE_KINDS.filter((kind) => kind !== 'openvino'))('%s', async (kind) => {
    const { engine, gateway, model, chat } = await openLine({ kind });
    const direct = await fetch(`${engine.url}/v1/chat/completions`, {
      method: 'POST',
      body: JSON.stringify(chat({ model, stream: false })),
    });
    const caller = await call(gateway.port, CHAT, chat({ stream: false }));
    const { status, headers } = await caller.head;
    const steady = (text: string): string => text.replaceAll(/"(id|created)":("[^"]*"|\d+)/g, '"$1":0');
    expect(steady(await caller.whole())).toBe(steady(await direct.text()));
    expect(status).toBe(200);
    expect(headers).toMatchObject({
      'content-type': 'application/json',
      'content-length': String(caller.bytes().length),
      'cache-control': 'no-cache, no-transform',
      'x-request-id': expect.stringMatching(/^req_/),
      'x-lanyard-model': 'coder',
      'x-lanyard-backend': 'rack',
    });
    await expect
      .poll(() => gateway.outcomes())
      .toMatchObject([{ end: 'complete', status: 200, tokens_in: 1, tokens_out: 8 }]);
  });

  const odd: [string, string][] = [
    [
      'white space, escapes and big integers',
      '\n{ "id": "a", "choices" : [ ],\t"usage":{},"seed":12345678901234567890, "t":"\\u00e9é" }\n',
    ],
    ['an error of null beside its choices', '{"id":"a","error":null,"choices":[],"usage":{}}'],
    ['usage of no known shape', '{"id":"a","choices":[],"usage":[1,2]}'],
  ];
  test.for(odd)('%s', async ([, body]) => {
    const { engine, gateway, chat } = await openLine();
    engine.next({ kind: 'status', status: 200, body });
    expect(await (await call(gateway.port, CHAT, chat({ stream: false }))).whole()).toBe(body);
  });

  test('cut into single bytes', async () => {
    const { engine, gateway, chat } = await openLine();
    engine.next({ kind: 'split', bytes: 1 });
    expect(await (await call(gateway.port, CHAT, chat({ stream: false }))).whole()).toContain(
      `"content":"${engine.says}"`,
    );
  });
});

describe('what is no answer becomes a clean error', () => {
  const rows: [string, Fault, number, string][] = [
    ['an error with status 200', { kind: 'error_200' }, 502, 'upstream_error'],
    ['JSON that breaks off', { kind: 'bad_json' }, 502, 'upstream_invalid'],
    ['JSON that is no object', { kind: 'bad_json', body: '[1]' }, 502, 'upstream_invalid'],
    ['an empty body', { kind: 'bad_json', body: '' }, 502, 'upstream_invalid'],
    [
      'usage that is not JSON',
      { kind: 'bad_json', body: '{"choices":[],"usage":{"prompt_tokens":1e}}' },
      502,
      'upstream_invalid',
    ],
    ['a page with status 200', { kind: 'html', status: 200 }, 502, 'upstream_invalid'],
    ['a page with status 502', { kind: 'html' }, 502, 'upstream_error'],
    ['a body shorter than announced', { kind: 'truncated' }, 502, 'upstream_stream_aborted'],
    ['a reset in its middle', { kind: 'die_after', events: 1 }, 502, 'upstream_stream_aborted'],
    [
      'a FIN in its middle',
      { kind: 'all', faults: [{ kind: 'fin_after', events: 1 }, { kind: 'truncated' }] },
      502,
      'upstream_stream_aborted',
    ],
    ['a chunk size that is no number', { kind: 'bad_chunk' }, 502, 'upstream_stream_aborted'],
    ['something that is not HTTP', { kind: 'garbage' }, 502, 'upstream_invalid'],
    ['a body without end', { kind: 'endless' }, 502, 'upstream_invalid'],
    [
      'a redirect',
      { kind: 'status', status: 302, headers: { location: 'http://169.254.169.254/' }, body: '' },
      502,
      'upstream_error',
    ],
    ['nothing to say', { kind: 'status', status: 204, body: '' }, 502, 'upstream_error'],
    ['silence in its middle', { kind: 'hang_after', events: 1 }, 504, 'upstream_timeout'],
  ];
  test.for(rows)('%s', async ([, fault, wanted, code]) => {
    const { engine, gateway, chat } = await openLine({ limits: 'answer_bytes_max: 256KiB, idle_ms: 150ms' });
    engine.always(fault);
    const caller = await call(gateway.port, CHAT, chat({ stream: false }));
    const { status, headers } = await caller.head;
    const { error } = JSON.parse(await caller.whole()) as { error: Record<string, unknown> };
    expect({ status, code: error['code'] }).toEqual({ status: wanted, code });
    expect(Object.keys(error)).toEqual(['message', 'type', 'param', 'code']);
    expect(headers['content-type']).toBe('application/json');
    await expect.poll(() => gateway.outcomes()).toMatchObject([{ end: 'backend_failed', status: wanted, code }]);
    await engine.until(({ in_flight }) => in_flight === 0);
    expect(engine.asked[0]?.bytes_sent).toBeLessThan(8 << 20);
  });
});

test.each([false, true])(
  'an answer (streamed: %s) says how long it took, under the name OpenAI has for it',
  async (stream) => {
    const { gateway, chat } = await openLine();
    const began = performance.now();
    const answer = await gateway.ask(CHAT, chat({ stream }));
    const spent = Number(answer.headers.get('openai-processing-ms'));
    expect(Number.isInteger(spent)).toBe(true);
    expect(spent).toBeGreaterThanOrEqual(0);
    expect(spent).toBeLessThanOrEqual(Math.ceil(performance.now() - began));
    await answer.text();
  },
);
