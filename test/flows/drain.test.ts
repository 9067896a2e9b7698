// The end of a gateway: told to stop it takes nothing new, lets streams finish for drain_ms, tells the rest, and exits.
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { startEngine } from '../engines/engine.ts';
import { call } from '../stage/caller.ts';
import { KEY } from '../stage/gateway.ts';
import { runLanyard, startLanyard } from '../stage/lanyard.ts';
import { dial, post } from '../stage/raw.ts';

const CHAT = '/v1/chat/completions';
const STREAM = { model: 'coder', messages: [], stream: true };

async function stage(limits: string, slots = 8) {
  const engine = await startEngine({ kind: 'vllm', models: ['llama'] });
  onTestFinished(() => engine.stop());
  const lanyard = await startLanyard({
    yaml: `
listen: [{ port: 0 }]
limits: { ip: off, ${limits} }
backends: { rack: { engine: vllm, url: "${engine.url}", slots: ${slots} } }
models: { coder: [rack/llama] }
`,
    env: { LITELLM_MASTER_KEY: KEY },
  });
  const said = (msg: string) => lanyard.log().filter((line) => line['msg'] === msg);
  /** The log is written out a moment later. */
  const draining = () => expect.poll(() => said('draining').length, { interval: 10 }).toBe(1);
  return { engine, lanyard, said, draining };
}

test.each(['SIGTERM', 'SIGINT'] as const)(
  'at %s new connections are refused, the stream finishes, and the exit is clean',
  async (signal) => {
    const { engine, lanyard, said, draining } = await stage('drain_ms: 20s');
    engine.next({ kind: 'hold_after', events: 2 });
    const stream = await call(lanyard.port, CHAT, STREAM);
    await stream.until('data: ');
    lanyard.signal(signal);
    await draining();
    await expect(fetch(`${lanyard.url}/health`)).rejects.toThrow();
    expect(existsSync(`/proc/${lanyard.pid}`) || process.platform !== 'linux').toBe(true);
    engine.release();
    const text = await stream.whole();
    expect(text).toContain('data: [DONE]');
    expect(text).not.toContain('"error"');
    expect(await lanyard.exit).toBe(0);
    expect(said('request')).toMatchObject([{ end: 'complete', status: 200 }]);
    expect(said('stopped')).toHaveLength(1);
  },
);

test('a kept-alive connection that is idle does not hold the exit up', async () => {
  const { lanyard } = await stage('drain_ms: 20s');
  expect((await fetch(`${lanyard.url}/health`)).status).toBe(200);
  const began = performance.now();
  lanyard.signal('SIGTERM');
  expect(await lanyard.exit).toBe(0);
  expect(performance.now() - began).toBeLessThan(5_000);
});

test('a request that was on its way on an idle connection is answered, and the connection ends with it', async () => {
  const { engine, lanyard, draining } = await stage('drain_ms: 20s');
  const ask = 'GET /health HTTP/1.1\r\nHost: gateway\r\n\r\n';
  const idle = await dial(lanyard.port, ask);
  await idle.until(1);
  // The other became idle only while draining: its answer had promised to keep the connection.
  engine.next({ kind: 'hold_after', events: 2 });
  const streaming = await dial(lanyard.port, post(CHAT, JSON.stringify(STREAM)));
  await expect.poll(() => streaming.text()).toContain('data: ');
  lanyard.signal('SIGTERM');
  await draining();
  engine.release();
  await expect.poll(() => streaming.text()).toContain('[DONE]');
  for (const caller of [idle, streaming]) {
    caller.socket.write(ask);
    await expect.poll(() => caller.text()).toMatch(/connection: close[\s\S]*"status":"ok"/i);
    expect(await caller.ended).toBe('fin');
  }
  expect(await lanyard.exit).toBe(0);
});

test('a long stream that was on its way on an idle connection has the whole of drain_ms', async () => {
  const { engine, lanyard, draining } = await stage('drain_ms: 20s');
  const ask = 'GET /health HTTP/1.1\r\nHost: gateway\r\n\r\n';
  const [idle, silent] = [await dial(lanyard.port, ask), await dial(lanyard.port, ask)];
  await Promise.all([idle.until(1), silent.until(1)]);
  lanyard.signal('SIGTERM');
  await draining();
  engine.next({ kind: 'hold_after', events: 2 });
  idle.socket.write(post(CHAT, JSON.stringify(STREAM)));
  await expect.poll(() => idle.text()).toContain('data: ');
  // The one that stayed idle is closed in the meantime.
  expect(await silent.ended).toBe('fin');
  engine.release();
  await expect.poll(() => idle.text()).toContain('[DONE]');
  expect(await lanyard.exit).toBe(0);
});

test('after drain_ms a stream is told in-band without [DONE], one not begun and one queued by 503', async () => {
  const { engine, lanyard, said } = await stage('drain_ms: 150ms, queue_wait_ms: 60s', 2);
  engine.next({ kind: 'hold_after', events: 2 }, { kind: 'hang' });
  const stream = await call(lanyard.port, CHAT, STREAM);
  await stream.until('data: ');
  const waiting = await call(lanyard.port, CHAT, { ...STREAM, stream: false });
  await engine.until(({ in_flight }) => in_flight === 2);
  const queued = await call(lanyard.port, CHAT, STREAM);
  await expect.poll(async () => (await fetch(`${lanyard.url}/metrics`)).text()).toContain('lanyard_queued 1');
  lanyard.signal('SIGTERM');
  const text = await stream.whole();
  expect(text).toMatch(/data: \{"error":\{[^\n]*"code":"shutting_down"\}\}\n\n$/);
  expect(text).not.toContain('[DONE]');
  for (const one of [waiting, queued]) {
    const { status, headers } = await one.head;
    expect(status).toBe(503);
    expect(headers['retry-after']).toBe('1');
    expect(headers['x-should-retry']).toBeUndefined();
    expect(JSON.parse(await one.whole())).toMatchObject({ error: { code: 'shutting_down', type: 'server_error' } });
  }
  expect(await lanyard.exit).toBe(0);
  expect(engine.asked).toHaveLength(2);
  await engine.until(({ in_flight }) => in_flight === 0);
  expect(said('request')).toHaveLength(3);
  for (const line of said('request'))
    expect(line).toMatchObject({ end: 'rejected', code: 'shutting_down', status: 503 });
});

test('a client that does not listen to its last words does not hold the exit up', async () => {
  const { engine, lanyard } = await stage('drain_ms: 100ms');
  engine.always({ kind: 'endless' });
  const stream = await call(lanyard.port, CHAT, STREAM, { paused: true });
  await engine.until(({ asked }) => (asked[0]?.bytes_sent ?? 0) > 1_000_000);
  const began = performance.now();
  lanyard.signal('SIGTERM');
  expect(await lanyard.exit).toBe(0);
  expect(performance.now() - began).toBeLessThan(5_000);
  stream.leave('reset');
});

test('a second signal ends it at once, with the log written out', async () => {
  const { engine, lanyard, said, draining } = await stage('drain_ms: 5m');
  engine.next({ kind: 'hold_after', events: 2 });
  const stream = await call(lanyard.port, CHAT, STREAM);
  await stream.until('data: ');
  await (await fetch(`${lanyard.url}${CHAT}`, { method: 'POST' })).text();
  lanyard.signal('SIGTERM');
  await draining();
  lanyard.signal('SIGTERM');
  expect(await lanyard.exit).toBe(1);
  expect(await stream.ended).toBe('cut');
  expect(said('request')).toHaveLength(1);
});

test('two signals in one moment end it at once, with the log written out', async () => {
  const { engine, lanyard, said } = await stage('drain_ms: 5m');
  engine.next({ kind: 'hold_after', events: 2 });
  const stream = await call(lanyard.port, CHAT, STREAM);
  await stream.until('data: ');
  await (await fetch(`${lanyard.url}${CHAT}`, { method: 'POST' })).text();
  lanyard.signal('SIGINT');
  lanyard.signal('SIGTERM');
  expect(await lanyard.exit).toBe(1);
  expect(said('request')).toHaveLength(1);
  expect(said('draining')).toHaveLength(1);
});

test('SIGHUP and a change of the file while draining open nothing again', async () => {
  const { engine, lanyard, said, draining } = await stage('drain_ms: 20s');
  engine.next({ kind: 'hold_after', events: 2 });
  const stream = await call(lanyard.port, CHAT, STREAM);
  await stream.until('data: ');
  lanyard.signal('SIGTERM');
  await draining();
  const file = `${lanyard.dir}/config/lanyard.yaml`;
  lanyard.configure(readFileSync(file, 'utf8').replace('port: 0', 'port: 0, auth: open'));
  lanyard.signal('SIGHUP');
  await expect(fetch(`${lanyard.url}/health`)).rejects.toThrow();
  engine.release();
  expect(await stream.whole()).toContain('[DONE]');
  expect(await lanyard.exit).toBe(0);
  for (const msg of ['configuration reloaded', 'configuration refused, the old one stays'])
    expect(said(msg)).toEqual([]);
});

test('clients that break off leave nothing on standard error but the log', async () => {
  const { engine, lanyard, said } = await stage('drain_ms: 1s');
  engine.always({ kind: 'hang_after', events: 1 });
  for (const how of ['reset', 'fin', 'reset'] as const) {
    const stream = await call(lanyard.port, CHAT, STREAM);
    await stream.until('data: ');
    stream.leave(how);
  }
  await expect.poll(() => said('request').length).toBe(3);
  lanyard.signal('SIGTERM');
  expect(await lanyard.exit).toBe(0);
  for (const line of lanyard
    .stderr()
    .split('\n')
    .filter((one) => one !== ''))
    expect(() => JSON.parse(line) as unknown).not.toThrow();
});

/** A backend that takes connections and never answers: probes of it last as long as they may. */
async function silent() {
  const server = createServer(() => undefined).listen(0, '127.0.0.1');
  const asked = once(server, 'request');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  const yaml = `listen: [{ port: 0, auth: open }]\nbackends: { mute: { url: "http://127.0.0.1:${port}" } }\n`;
  /** Resolves at the first probe. */
  return { yaml, asked };
}

test('a signal while the first probes are under way ends it at once and cleanly', async () => {
  const { yaml, asked } = await silent();
  const lanyard = runLanyard({ yaml });
  await asked;
  const told = performance.now();
  lanyard.signal('SIGTERM');
  expect(await lanyard.exit).toBe(0);
  expect(performance.now() - told).toBeLessThan(1_500);
  expect(lanyard.log().map(({ msg }) => msg)).toContain('stopped');
});

test('SIGHUP while the first probes are under way is a reload once they are over', async () => {
  const { yaml, asked } = await silent();
  const lanyard = runLanyard({ yaml });
  await asked;
  lanyard.signal('SIGHUP');
  const reloaded = () => lanyard.log().filter(({ msg }) => msg === 'configuration reloaded').length;
  await expect.poll(reloaded, { timeout: 10_000 }).toBe(1);
});

test('a signal in the middle of a reload does not wait for the probes of the new backends', async () => {
  const { lanyard, said } = await stage('drain_ms: 1s');
  const { yaml, asked } = await silent();
  lanyard.configure(yaml);
  lanyard.signal('SIGHUP');
  await asked;
  const told = performance.now();
  lanyard.signal('SIGTERM');
  expect(await lanyard.exit).toBe(0);
  expect(performance.now() - told).toBeLessThan(1_500);
  expect(said('configuration refused, the old one stays')).toEqual([]);
});
