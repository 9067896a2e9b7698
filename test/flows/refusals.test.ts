// What engines say no with, in each one's own shape, comes out as one: a status and a code a client can act on, and
// nothing of the engine's text but what tells the caller what is wrong with their call.
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { EngineKind } from '../engines/engine.ts';
import { ENGINE_KINDS } from '../engines/kinds.ts';
import type { Mistake } from '../engines/faults.ts';
import { call } from '../stage/caller.ts';
import { openGateway } from '../stage/gateway.ts';
import { openLine } from '../stage/line.ts';

const CHAT = '/v1/chat/completions';
const KEY_THERE = 'sk-the-engines-own-key-0123456789';

const meanings: Record<Mistake, readonly [status: number, code: string]> = {
  overflow: [400, 'context_length_exceeded'],
  unknown_model: [404, 'model_not_found'],
  overloaded: [503, 'server_is_overloaded'],
  loading: [503, 'server_is_overloaded'],
  bad_request: [400, 'invalid_request'],
  unauthorized: [502, 'upstream_auth'],
  internal: [502, 'upstream_error'],
};

/** Where an engine's own answer says less, or something else. */
const exceptions: Partial<Record<EngineKind, Partial<typeof meanings>>> = {
  'llama.cpp': { loading: [503, 'model_loading'] },
  lmstudio: { loading: [503, 'model_loading'] },
  openvino: { loading: [503, 'model_loading'] },
};

interface Refusal {
  readonly error: {
    readonly message: string;
    readonly type: string;
    readonly param: string | null;
    readonly code: string;
  };
}

async function refusal(port: number, path: string, body: object) {
  const caller = await call(port, path, body);
  const { status, headers } = await caller.head;
  const text = await caller.whole();
  expect(headers['content-type']).toBe('application/json');
  expect(text.startsWith('{"error":{"message":')).toBe(true);
  const { error } = JSON.parse(text) as Refusal;
  expect(Object.keys(error)).toEqual(['message', 'type', 'param', 'code']);
  return { status, headers, text, error };
}

describe.for(ENGINE_KINDS)('%s', (kind) => {
  const ways = [
    ['a chat', CHAT, { messages: [{ role: 'user', content: 'Hi' }] }],
    ['a streamed chat', CHAT, { messages: [{ role: 'user', content: 'Hi' }], stream: true }],
    ['embeddings', '/v1/embeddings', { input: 'Hi' }],
  ] as const;
  const mistakes = Object.keys(meanings) as Mistake[];
  test.for(mistakes)('%s means the same from every engine', async (what) => {
    const { engine, gateway } = await openLine({ kind, backend: `key: "${KEY_THERE}"` });
    for (const [way, path, body] of ways) {
      engine.next({ kind: 'error', what });
      const { status, headers, text, error } = await refusal(gateway.port, path, { model: 'coder', ...body });
      const wanted = exceptions[kind]?.[what] ?? meanings[what];
      expect([way, status, error.code]).toEqual([way, ...wanted]);
      expect(text).not.toContain(KEY_THERE);
      expect(text).not.toContain(String(engine.port));
      expect(text).not.toMatch(/EngineCore|Mediapipe|CalculatorGraph|runner process|Compute error/);
      expect(headers['retry-after'] ?? '').toMatch(status === 503 ? /^[1-9]\d?$/ : /^$/);
      expect(headers['x-should-retry']).toBeUndefined();
      expect(headers['www-authenticate']).toBeUndefined();
    }
    await expect.poll(() => gateway.outcomes()).toHaveLength(ways.length);
    expect(gateway.fleet.in_flight).toBe(0);
  });
});

describe("the backend's secrets stay behind", () => {
  const bodies: [string, (url: string) => object][] = [
    [
      'in OpenAI’s shape',
      (url) => ({
        error: { message: `Wrong request to ${url} with ${KEY_THERE}`, type: 'x', param: KEY_THERE, code: null },
      }),
    ],
    ['as a text', (url) => ({ error: `${url} ${KEY_THERE.toUpperCase()}` })],
    [
      'as FastAPI’s details',
      (url) => ({
        detail: [{ loc: ['body', 'messages'], msg: `no: ${url} ${KEY_THERE}`, input: 'the prompt itself' }],
      }),
    ],
  ];
  test.for(bodies)('%s', async ([, make]) => {
    const { engine, gateway, chat } = await openLine({ backend: `key: "${KEY_THERE}"` });
    engine.next({ kind: 'status', status: 400, body: make(engine.url), headers: { 'x-engine': KEY_THERE } });
    const { status, headers, text } = await refusal(gateway.port, CHAT, chat());
    expect(status).toBe(400);
    for (const seen of [text, JSON.stringify(headers), gateway.logged()]) {
      expect(seen.toLowerCase()).not.toContain(KEY_THERE);
      expect(seen).not.toContain(`127.0.0.1:${engine.port}`);
      expect(seen).not.toContain('the prompt itself');
    }
  });
});

describe('a status of the backend', () => {
  const rows: [number, number, string][] = [
    [429, 503, 'server_is_overloaded'],
    [422, 400, 'invalid_request'],
    [413, 400, 'invalid_request'],
    [403, 502, 'upstream_auth'],
    [405, 400, 'unsupported_endpoint'],
    [424, 502, 'upstream_error'],
    [500, 502, 'upstream_error'],
    [502, 502, 'upstream_error'],
    [504, 502, 'upstream_error'],
    [529, 503, 'server_is_overloaded'],
  ];
  test.for(rows)('%d is told as %d %s', async ([status, wanted, code]) => {
    const { engine, gateway, chat } = await openLine();
    engine.next({ kind: 'status', status, body: { error: { message: 'words' } } });
    const told = await refusal(gateway.port, CHAT, chat());
    expect([told.status, told.error.code]).toEqual([wanted, code]);
  });

  test("429's own Retry-After is handed on", async () => {
    const { engine, gateway, chat } = await openLine();
    engine.next({ kind: 'status', status: 429, headers: { 'retry-after': '7' }, body: '' });
    const { headers } = await refusal(gateway.port, CHAT, chat());
    expect(headers).toMatchObject({ 'retry-after': '7', 'retry-after-ms': '7000' });
  });
});

test('a status whose words never come is told without them, and the backend is let go', async () => {
  const server = createServer((request, response) => {
    if (request.method === 'GET') response.end('{"object":"list","data":[{"id":"x"}]}');
    else response.writeHead(500, { 'content-type': 'application/json', 'content-length': '100' }).flushHeaders();
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  onTestFinished(() => {
    server.close().closeAllConnections();
  });
  const { port } = server.address() as AddressInfo;
  const gateway = await openGateway(`backends: { b: { engine: openai, url: "http://127.0.0.1:${port}" } }`);
  const answer = await gateway.ask('/v1/chat/completions', { model: 'x', messages: [] });
  expect(answer.status).toBe(502);
  expect(await answer.json()).toMatchObject({ error: { code: 'upstream_error' } });
});
