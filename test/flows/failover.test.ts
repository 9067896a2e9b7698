// A backend that fails is stepped around: what is tried again and where, what never is, and what the caller hears.
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { readFileSync } from 'node:fs';
import { createServer as createTlsServer } from 'node:tls';
import { once } from 'node:events';
import { describe, expect, onTestFinished, test } from 'vitest';
import { startEngine, type FakeEngine, type Fault } from '../engines/engine.ts';
import { openGateway, type Stage } from '../stage/gateway.ts';
import { freePort } from '../stage/ports.ts';

const CHAT = { model: 'm', messages: [{ role: 'user', content: 'Hi' }] };

async function engineOf(options: Partial<Parameters<typeof startEngine>[0]> = {}): Promise<FakeEngine> {
  const engine = await startEngine({ kind: 'vllm', models: ['x'], ...options });
  onTestFinished(() => engine.stop());
  return engine;
}

/**
 * `m` is served by the first backend, its fallback `n` by the second, and so on: so the order of attempts is certain.
 * Backends are b0, b1, …, each an engine or a URL.
 */
async function openChain(backends: readonly (FakeEngine | string)[], limits = '', more = ''): Promise<Stage> {
  const names = ['m', 'n', 'o', 'p'];
  const urls = backends.map((one) => (typeof one === 'string' ? one : one.url));
  const gateway = await openGateway(
    `
limits: { ip: off${limits === '' ? '' : `, ${limits}`} }
backends:
${urls.map((url, at) => `  b${at}: { engine: ${more === '' ? 'vllm' : more}, url: "${url}" }`).join('\n')}
models:
${urls.map((_, at) => `  ${names[at]}: { serve: [b${at}/x], fallback: [${at + 1 < urls.length ? names[at + 1] : ''}] }`).join('\n')}
`,
    // A later one would find them again.
    { probing: { every_ms: 600_000, soon_ms: 600_000 } },
  );
  // The first probe has found the dead ones already; each was up a moment ago.
  for (const backend of gateway.fleet.backends.values()) backend.health = 'up';
  return gateway;
}

interface Refusal {
  error: { code: string; message: string; type: string };
}

const refusal = async (answer: Response): Promise<Refusal['error']> => ((await answer.json()) as Refusal).error;

/** A port where something listens that is no engine. */
async function listener(each: (socket: Socket) => void): Promise<string> {
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    onTestFinished(() => void socket.destroy());
    each(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function untrusted(): Promise<string> {
  const pem = readFileSync(new URL('../fixtures/untrusted.pem', import.meta.url));
  const server = createTlsServer({ key: pem, cert: pem }, (socket) => void socket.on('error', () => undefined));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  return `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const UNREACHABLE = [
  ['refuses connections', 'connect', async () => `http://127.0.0.1:${await freePort()}`],
  ['has a name that does not resolve', 'dns', async () => 'http://nowhere.invalid:8000'],
  ['does not speak TLS', 'tls', async () => `https://${await listener((socket) => void socket.end('no TLS\r\n'))}`],
  ['has a certificate nobody trusts', 'tls', untrusted],
  ['breaks off the TLS handshake', 'connect', async () => `https://${await listener((socket) => socket.destroy())}`],
  ['leaves the TLS handshake unanswered', 'connect', async () => `https://${await listener(() => undefined)}`],
] satisfies [string, string, () => Promise<string>][];

describe.each(UNREACHABLE)('a backend that %s', (_name, kind, dead) => {
  test('is stepped around, and the metrics tell', async () => {
    const engine = await engineOf();
    const gateway = await openChain([await dead(), engine], 'connect_ms: 300ms');
    const answer = await gateway.ask('/v1/chat/completions', CHAT);
    expect(answer.status).toBe(200);
    expect(answer.headers.get('x-lanyard-backend')).toBe('b1');
    expect(await answer.text()).toContain('世界');
    await expect.poll(() => gateway.metric('lanyard_retries_total')).toBe(1);
    expect(await gateway.metric('lanyard_upstream_errors_total', { backend: 'b0', kind })).toBe(1);
    expect(await gateway.metric('lanyard_backend_up', { backend: 'b0' })).toBe(0);
    expect(gateway.outcomes()[0]).toMatchObject({ end: 'complete', backend: 'b1', retries: 1 });
  });

  test('and is the last there is makes a 502', async () => {
    const gateway = await openChain([await dead()], 'connect_ms: 300ms');
    const answer = await gateway.ask('/v1/chat/completions', CHAT);
    expect(answer.status).toBe(502);
    expect(await refusal(answer)).toMatchObject({ code: 'upstream_unreachable', type: 'server_error' });
    expect(answer.headers.get('x-should-retry')).toBeNull();
    expect(gateway.fleet.in_flight).toBe(0);
  });
});

test('of two backends of one model, the dead one is never seen by a caller', async () => {
  const engine = await engineOf();
  const gateway = await openGateway(`
backends:
  dead: { engine: vllm, url: "http://127.0.0.1:${await freePort()}" }
  alive: { engine: vllm, url: "${engine.url}" }
models:
  m: [dead/x, alive/x]
`);
  for (let at = 0; at < 20; at += 1) {
    const dead = gateway.fleet.backends.get('dead');
    if (dead !== undefined) dead.health = 'up';
    const answer = await gateway.ask('/v1/chat/completions', CHAT);
    expect(answer.status).toBe(200);
    await answer.text();
  }
  expect(engine.asked).toHaveLength(20);
});

test('when every backend is unreachable, the 502 after our own retry tells SDKs not to repeat it', async () => {
  const gateway = await openChain([`http://127.0.0.1:${await freePort()}`, `http://127.0.0.1:${await freePort()}`]);
  const answer = await gateway.ask('/v1/chat/completions', CHAT);
  expect([answer.status, (await refusal(answer)).code]).toEqual([502, 'upstream_unreachable']);
  expect(answer.headers.get('x-should-retry')).toBe('false');
  await expect.poll(() => gateway.metric('lanyard_retries_total')).toBe(1);
});

test('a backend that went down meanwhile is not waited for', async () => {
  const slow = await listener(() => undefined);
  const gateway = await openChain([`https://${slow}`, `http://127.0.0.1:${await freePort()}`], 'connect_ms: 300ms');
  const first = gateway.ask('/v1/chat/completions', CHAT);
  await expect.poll(() => gateway.fleet.in_flight).toBe(1);
  // Another caller finds out about the second backend while the first is still being tried.
  expect((await gateway.ask('/v1/chat/completions', { ...CHAT, model: 'n' })).status).toBe(502);
  const started = performance.now();
  const answer = await first;
  expect([answer.status, (await refusal(answer)).code]).toEqual([502, 'upstream_unreachable']);
  expect(performance.now() - started).toBeLessThan(5_000);
  expect(await gateway.metric('lanyard_retries_total')).toBe(0);
});

describe('a backend’s refusal', () => {
  const busy = { error: { message: 'busy', type: 'x', param: null, code: 'x' } };

  test.each([429, 502, 503])('%i is tried once on another backend', async (status) => {
    const [a, b] = [await engineOf(), await engineOf()];
    const gateway = await openChain([a, b]);
    a.always({ kind: 'status', status, body: busy });
    const answer = await gateway.ask('/v1/chat/completions', CHAT);
    expect([answer.status, answer.headers.get('x-lanyard-backend')]).toEqual([200, 'b1']);
    await answer.text();
    await expect.poll(() => gateway.metric('lanyard_retries_total')).toBe(1);
    expect(await gateway.metric('lanyard_upstream_errors_total', { backend: 'b0', kind: 'status' })).toBe(1);
  });

  test.each([
    [429, 503, 'server_is_overloaded', null],
    [502, 502, 'upstream_error', 'false'],
    [503, 503, 'server_is_overloaded', null],
  ])('%i from two backends is not taken to a third', async (status, told, code, should_retry) => {
    const engines = [await engineOf(), await engineOf(), await engineOf()];
    const gateway = await openChain(engines);
    for (const engine of engines) engine.always({ kind: 'status', status, body: busy });
    const answer = await gateway.ask('/v1/chat/completions', CHAT);
    expect([answer.status, (await refusal(answer)).code]).toEqual([told, code]);
    expect(answer.headers.get('x-should-retry')).toBe(should_retry);
    expect(engines.map(({ asked }) => asked.length)).toEqual([1, 1, 0]);
  });

  test('is still tried elsewhere once after a backend that could not be reached', async () => {
    const [b, c] = [await engineOf(), await engineOf()];
    const gateway = await openChain([`http://127.0.0.1:${await freePort()}`, b, c]);
    b.next({ kind: 'status', status: 503, body: busy });
    const answer = await gateway.ask('/v1/chat/completions', CHAT);
    expect([answer.status, answer.headers.get('x-lanyard-backend')]).toEqual([200, 'b2']);
  });

  test.each([
    [400, 400, 'invalid_request'],
    [500, 502, 'upstream_error'],
    [504, 502, 'upstream_error'],
    [401, 502, 'upstream_auth'],
    [403, 502, 'upstream_auth'],
  ])('%i is not tried again', async (status, told, code) => {
    const [a, b] = [await engineOf(), await engineOf()];
    const gateway = await openChain([a, b]);
    a.always({ kind: 'status', status, body: busy });
    const answer = await gateway.ask('/v1/chat/completions', CHAT);
    expect([answer.status, (await refusal(answer)).code]).toEqual([told, code]);
    expect(b.asked).toHaveLength(0);
  });

  test('429 is our 503, with the time the backend names', async () => {
    const a = await engineOf();
    const gateway = await openChain([a]);
    a.next({ kind: 'status', status: 429, body: busy, headers: { 'retry-after': '7' } });
    const answer = await gateway.ask('/v1/chat/completions', CHAT);
    expect([answer.status, (await refusal(answer)).code]).toEqual([503, 'server_is_overloaded']);
    expect([answer.headers.get('retry-after'), answer.headers.get('retry-after-ms')]).toEqual(['7', '7000']);
    expect(answer.headers.get('x-should-retry')).toBeNull();
  });
});

describe('a connection that breaks before the answer', () => {
  test.each([
    ['a reset', { kind: 'reset' }],
    ['a close', { kind: 'close' }],
  ] satisfies [string, Fault][])('by %s on a fresh socket is not tried again', async (_name, fault) => {
    // With so short a keep-alive no socket is used twice.
    const [a, b] = [await engineOf({ keep_alive_ms: 500 }), await engineOf()];
    const gateway = await openChain([a, b]);
    a.next(fault);
    const answer = await gateway.ask('/v1/chat/completions', CHAT);
    expect([answer.status, (await refusal(answer)).code]).toEqual([502, 'upstream_reset']);
    expect([a.asked.length, b.asked.length]).toEqual([1, 0]);
    expect(await gateway.metric('lanyard_upstream_errors_total', { kind: 'reset' })).toBe(1);
  });

  test.each([
    ['a reset', { kind: 'reset' }],
    ['a close', { kind: 'close' }],
  ] satisfies [string, Fault][])(
    'by %s on a socket used before is tried once more, on a fresh one',
    async (_name, fault) => {
      const a = await engineOf();
      const gateway = await openChain([a]);
      await (await gateway.ask('/v1/chat/completions', CHAT)).text();
      a.next(fault);
      const answer = await gateway.ask('/v1/chat/completions', CHAT);
      expect(answer.status).toBe(200);
      await answer.text();
      expect(a.asked).toHaveLength(3);
      expect(a.asked[2]?.remote_port).not.toBe(a.asked[1]?.remote_port);
      expect(await gateway.metric('lanyard_upstream_errors_total', { kind: 'stale' })).toBe(1);
      expect(gateway.fleet.backends.get('b0')?.health).toBe('up');
    },
  );

  test('again on the fresh one is the end of it', async () => {
    const [a, b] = [await engineOf(), await engineOf()];
    const gateway = await openChain([a, b]);
    await (await gateway.ask('/v1/chat/completions', CHAT)).text();
    a.next({ kind: 'reset' }, { kind: 'reset' });
    const answer = await gateway.ask('/v1/chat/completions', CHAT);
    expect([answer.status, (await refusal(answer)).code]).toEqual([502, 'upstream_reset']);
    expect(answer.headers.get('x-should-retry')).toBe('false');
    expect([a.asked.length, b.asked.length]).toEqual([3, 0]);
  });

  test('because the engine was started anew is not seen by a caller', async () => {
    let a = await startEngine({ kind: 'vllm', models: ['x'] });
    const gateway = await openChain([a]);
    for (let at = 0; at < 3; at += 1) {
      expect((await gateway.ask('/v1/chat/completions', CHAT)).status).toBe(200);
      await a.stop();
      a = await startEngine({ kind: 'vllm', models: ['x'], port: a.port });
    }
    onTestFinished(() => a.stop());
    expect((await gateway.ask('/v1/chat/completions', CHAT)).status).toBe(200);
    await expect.poll(() => gateway.outcomes()).toHaveLength(4);
    expect(gateway.outcomes().every(({ end }) => end === 'complete')).toBe(true);
  });

  test('and whose engine then is gone goes to another backend', async () => {
    const b = await engineOf();
    const gateway = await openChain([`http://${await dying()}`, b], '', 'openai');
    const answer = await gateway.ask('/v1/chat/completions', CHAT);
    expect([answer.status, answer.headers.get('x-lanyard-backend')]).toEqual([200, 'b1']);
    await answer.text();
    expect(await gateway.metric('lanyard_upstream_errors_total', { backend: 'b0', kind: 'stale' })).toBe(1);
    expect(await gateway.metric('lanyard_upstream_errors_total', { backend: 'b0', kind: 'connect' })).toBe(1);
  });

  test('keeps its slot for the second try, whoever waits for it', async () => {
    const a = await engineOf();
    const gateway = await openGateway(`
limits: { ip: off, queue_wait_ms: 400ms }
backends:
  b0: { engine: vllm, url: "${a.url}", slots: 1 }
models:
  m: [b0/x]
`);
    await (await gateway.ask('/v1/chat/completions', CHAT)).text();
    a.next(
      { kind: 'all', faults: [{ kind: 'delay', ms: 150 }, { kind: 'reset' }] },
      { kind: 'delay', ms: 0 },
      { kind: 'delay', ms: 0 },
    );
    const first = gateway.ask('/v1/chat/completions', { ...CHAT, user: 'first' });
    await a.until(({ asked }) => asked.length === 2);
    const second = gateway.ask('/v1/chat/completions', { ...CHAT, user: 'second' });
    expect([(await first).status, (await second).status]).toEqual([200, 200]);
    const order = a.asked.slice(1).map(({ body }) => (JSON.parse(body.toString()) as { user: string }).user);
    expect(order).toEqual(['first', 'first', 'second']);
  });
});

/** Lists its models; at the first call it closes its port and the socket the call came by. */
async function dying(): Promise<string> {
  const list = JSON.stringify({ object: 'list', data: [{ id: 'x', object: 'model' }] });
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket.on('error', () => undefined));
    socket.on('data', (bytes) => {
      if (bytes.toString().startsWith('GET')) {
        socket.write(
          `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${list.length}\r\n\r\n${list}`,
        );
        return;
      }
      server.close();
      for (const one of sockets) one.resetAndDestroy();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

test.each([false, true])('after a response timeout nothing is tried again (stream: %s)', async (stream) => {
  const [a, b] = [await engineOf(), await engineOf()];
  const gateway = await openChain([a, b], 'first_byte_ms: 200ms');
  a.next({ kind: 'hang' });
  const answer = await gateway.ask('/v1/chat/completions', { ...CHAT, stream });
  expect([answer.status, (await refusal(answer)).code]).toEqual([504, 'upstream_timeout']);
  expect(answer.headers.get('x-should-retry')).toBe('false');
  await a.until(({ asked }) => asked[0]?.ended === 'aborted');
  expect(b.asked).toHaveLength(0);
});

describe('a storm', () => {
  const spread = async (gateway: Stage): Promise<Map<string, number>> => {
    const answers = await Promise.all(Array.from({ length: 100 }, () => gateway.ask('/v1/chat/completions', CHAT)));
    const count = new Map<string, number>();
    for (const answer of answers) {
      const { code } = await refusal(answer);
      const told = `${answer.status} ${code}${answer.headers.get('x-should-retry') === 'false' ? ' final' : ''}`;
      count.set(told, (count.get(told) ?? 0) + 1);
    }
    return count;
  };

  test('of 100 against two overloaded backends makes at most a fifth more attempts', async () => {
    const engines = [await engineOf(), await engineOf()];
    const gateway = await openGateway(`
backends:
  b0: { engine: vllm, url: "${engines[0]?.url}" }
  b1: { engine: vllm, url: "${engines[1]?.url}" }
models:
  m: [b0/x, b1/x]
`);
    const overloaded: Fault = { kind: 'status', status: 502 };
    for (const engine of engines) engine.always({ kind: 'all', faults: [{ kind: 'hold' }, overloaded] });
    const asking = spread(gateway);
    await expect.poll(() => engines.reduce((sum, { held }) => sum + held, 0), { timeout: 10_000 }).toBe(100);
    for (const engine of engines) {
      engine.always(overloaded);
      engine.release();
    }
    const told = await asking;
    const attempts = engines.reduce((sum, { asked }) => sum + asked.length, 0);
    expect(attempts).toBeGreaterThan(100);
    expect(attempts).toBeLessThanOrEqual(120);
    // Where the one retry was made, or the budget for it was spent, an SDK's own would only be more of the same.
    expect([...told.keys()].every((one) => one.startsWith('502 upstream_error'))).toBe(true);
    expect(told.get('502 upstream_error final')).toBeGreaterThanOrEqual(attempts - 100);
    await expect.poll(() => gateway.metric('lanyard_retries_total')).toBe(attempts - 100);
  });

  test('of 100 against two that refuse connections makes at most a fifth more attempts, and nobody waits', async () => {
    const gateway = await openChain([`http://127.0.0.1:${await freePort()}`, `http://127.0.0.1:${await freePort()}`]);
    const started = performance.now();
    const told = await spread(gateway);
    expect(performance.now() - started).toBeLessThan(5_000);
    expect([...told.keys()].every((one) => /^50[23] (upstream_unreachable|backend_unavailable)/.test(one))).toBe(true);
    const errors = await Promise.all(
      ['b0', 'b1'].map((backend) => gateway.metric('lanyard_upstream_errors_total', { backend, kind: 'connect' })),
    );
    expect((errors[0] ?? 0) + (errors[1] ?? 0)).toBeLessThanOrEqual(120);
  });
});

describe('a streamed call', () => {
  test('goes to another backend before its first byte', async () => {
    const [a, b] = [await engineOf(), await engineOf()];
    const gateway = await openChain([a, b]);
    a.next({ kind: 'status', status: 503 });
    const answer = await gateway.ask('/v1/chat/completions', { ...CHAT, stream: true });
    const text = await answer.text();
    expect([answer.status, answer.headers.get('x-lanyard-backend')]).toEqual([200, 'b1']);
    expect(text.endsWith('data: [DONE]\n\n')).toBe(true);
  });

  test('and not after it', async () => {
    const [a, b] = [await engineOf(), await engineOf()];
    const gateway = await openChain([a, b]);
    a.next({ kind: 'die_after', events: 3 });
    const answer = await gateway.ask('/v1/chat/completions', { ...CHAT, stream: true });
    const text = await answer.text();
    expect(answer.status).toBe(200);
    expect(text).toContain('"code":"upstream_stream_aborted"');
    expect(text).not.toContain('[DONE]');
    expect(b.asked).toHaveLength(0);
  });
});

test.each([
  { kind: 'error', what: 'bad_request' },
  { kind: 'error', what: 'overflow' },
  { kind: 'error', what: 'unknown_model' },
] as const satisfies Fault[])(
  "what is the request's own fault ($what) is not counted as the backend's",
  async (fault) => {
    const engine = await engineOf();
    const gateway = await openChain([engine]);
    engine.next(fault);
    const answer = await gateway.ask('/v1/chat/completions', CHAT);
    expect(answer.status).toBeGreaterThanOrEqual(400);
    expect(answer.status).toBeLessThan(500);
    expect(await gateway.metric('lanyard_upstream_errors_total', { backend: 'b0' })).toBe(0);
  },
);
