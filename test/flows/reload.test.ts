// A new configuration while requests flow: taken on whole or not at all, without breaking what is under way.
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { startEngine, type FakeEngine } from '../engines/engine.ts';
import { call } from '../stage/caller.ts';
import { KEY, openGateway, stageConfig } from '../stage/gateway.ts';
import { startLanyard } from '../stage/lanyard.ts';
import { freePort } from '../stage/ports.ts';
import { dial } from '../stage/raw.ts';

const CHAT = '/v1/chat/completions';
const WHOLE = { model: 'coder', messages: [] };
const ALICE = 'sk-lanyard-alices-own-key-Qm9vbWVyYW5nIQ';
const HASH = `sha256:${createHash('sha256').update(ALICE).digest('hex')}`;
const AS_ALICE = { headers: { authorization: `Bearer ${ALICE}` } };
const ALICES = `auth: { keys: [{ name: alice, hash: "${HASH}" }] }`;

async function stage(more = '', listen?: string) {
  const engine = await startEngine({ kind: 'vllm', models: ['llama', 'qwen'] });
  onTestFinished(() => engine.stop());
  const gateway = await openGateway(fleet(engine, more), listen === undefined ? {} : { listen });
  /** Reloads with other sections, and other listeners where said. */
  const reload = (yaml: string, to = listen) =>
    gateway.reload(stageConfig(fleet(engine, yaml), to === undefined ? {} : { listen: to }));
  return { engine, gateway, reload };
}

function fleet(engine: FakeEngine, more: string): string {
  return `backends: { rack: { engine: vllm, url: "${engine.url}" } }\nmodels: { coder: [rack/llama] }\n${more}`;
}

async function statusOf(answer: Promise<Response>): Promise<number> {
  const { status, body } = await answer;
  await body?.cancel();
  return status;
}

test('a new key works and a removed one is refused', async () => {
  const { gateway, reload } = await stage();
  const asAlice = () => statusOf(gateway.ask(CHAT, WHOLE, AS_ALICE));
  expect(await asAlice()).toBe(401);
  await reload(ALICES);
  expect(await asAlice()).toBe(200);
  await reload('');
  expect(await asAlice()).toBe(401);
  expect(await statusOf(gateway.ask(CHAT, WHOLE))).toBe(200);
});

test('limits of every kind change at once', async () => {
  const { gateway, reload } = await stage();
  const large = { ...WHOLE, x: 'y'.repeat(2000) };
  expect(await statusOf(gateway.ask(CHAT, large))).toBe(200);
  await reload('limits: { ip: { requests: 1/h, burst: 1 }, body_bytes_max: 1KiB }');
  expect(await statusOf(gateway.ask(CHAT, large))).toBe(413);
  expect(await statusOf(gateway.ask(CHAT, WHOLE))).toBe(200);
  expect(await statusOf(gateway.ask(CHAT, WHOLE))).toBe(429);
  await reload('limits: { ip: off, connections_max: 1 }');
  expect(await statusOf(gateway.ask(CHAT, WHOLE))).toBe(200);
  expect(gateway.listeners).toHaveLength(1);
});

test('what has been spent stays spent over a reload that leaves the rate as it is', async () => {
  const rate = 'limits: { ip: { requests: 1/h, burst: 1 } }';
  const { gateway, reload } = await stage(rate);
  expect(await statusOf(gateway.ask(CHAT, WHOLE))).toBe(200);
  await reload(`${rate}\nlog: { level: WARNING }`);
  expect(await statusOf(gateway.ask(CHAT, WHOLE))).toBe(200);
  expect(await statusOf(gateway.ask(CHAT, WHOLE))).toBe(429);
});

test('trusted proxies, origins, metrics ranges, failures and the log level change too', async () => {
  const { gateway, reload } = await stage();
  const far = { headers: { 'x-forwarded-for': '10.1.1.1' } };
  expect(await statusOf(fetch(`${gateway.url}/metrics`, far))).toBe(401);
  await reload(
    'limits: { ip: off, trusted_proxies: [127.0.0.1] }\nmetrics: { allow: [10.0.0.0/8] }\ncors: { origins: ["https://a.example"] }\nauth: { failures: 1/min }\nlog: { level: ERROR }',
  );
  expect(await statusOf(fetch(`${gateway.url}/metrics`, far))).toBe(200);
  const models = await gateway.ask('/v1/models', undefined, { headers: { origin: 'https://a.example' } });
  expect(models.headers.get('access-control-allow-origin')).toBe('https://a.example');
  const stranger = () => statusOf(fetch(`${gateway.url}/v1/models`));
  expect([await stranger(), await stranger()]).toEqual([401, 429]);
  const lines = gateway.outcomes().length;
  expect(await statusOf(gateway.ask(CHAT, WHOLE))).toBe(200);
  expect(gateway.outcomes()).toHaveLength(lines);
});

test('models and backends change, and a stream under way on a removed backend goes on to its end', async () => {
  const { gateway, engine } = await stage();
  const other = await startEngine({ kind: 'vllm', models: ['new'] });
  onTestFinished(() => other.stop());
  engine.next({ kind: 'hold_after', events: 2 });
  const stream = await call(gateway.port, CHAT, { ...WHOLE, stream: true });
  await stream.until('data: ');
  const config = `backends: { two: { engine: vllm, url: "${other.url}" } }\nmodels: { fresh: [two/new] }\nlimits: { ip: { requests: 1/h, burst: 0 } }`;
  await gateway.reload(stageConfig(config));
  expect(await statusOf(gateway.ask(CHAT, { ...WHOLE, model: 'fresh' }))).toBe(200);
  expect(await statusOf(gateway.ask(CHAT, WHOLE))).toBe(429);
  engine.release();
  expect(await stream.whole()).toContain('data: [DONE]');
  await expect.poll(() => gateway.outcomes().map(({ end }) => end)).toContain('complete');
  await expect.poll(() => engine.connections).toBe(0);
});

test('a listener is added, changes its auth, and is removed while its stream goes on', async () => {
  const [one, two] = [await freePort(), await freePort()];
  const first = `{ port: ${one} }`;
  const { gateway, engine, reload } = await stage('', `[${first}]`);
  const keyless = (port: number) => statusOf(fetch(`http://127.0.0.1:${port}/v1/models`));
  await expect(keyless(two)).rejects.toThrow();
  await reload('', `[${first}, { port: ${two}, auth: open }]`);
  expect(await keyless(two)).toBe(200);
  expect(await keyless(one)).toBe(401);
  await reload('', `[${first}, { port: ${two} }]`);
  expect(await keyless(two)).toBe(401);
  engine.next({ kind: 'hold_after', events: 2 });
  const stream = await call(two, CHAT, { ...WHOLE, stream: true });
  await stream.until('data: ');
  await reload('', `[${first}]`);
  expect(gateway.listeners).toHaveLength(1);
  await expect(dial(two)).rejects.toThrow('ECONNREFUSED');
  engine.release();
  expect(await stream.whole()).toContain('data: [DONE]');
  expect(await keyless(one)).toBe(401);
});

test('a stop waits for the connections of a listener that a reload took away', async () => {
  const [one, two] = [await freePort(), await freePort()];
  const { gateway, engine, reload } = await stage('', `[{ port: ${one} }, { port: ${two} }]`);
  engine.next({ kind: 'hold_after', events: 2 });
  const stream = await call(two, CHAT, { ...WHOLE, stream: true });
  const idle = await dial(two, 'GET /health HTTP/1.1\r\nHost: gateway\r\n\r\n');
  await Promise.all([stream.until('data: '), idle.until(1)]);
  await reload('', `[{ port: ${one} }]`);
  const stopped = gateway.stop();
  engine.release();
  expect(await stream.whole()).toContain('data: [DONE]');
  await stopped;
  expect(await idle.ended).toBe('fin');
});

test('two listeners on ports of the system’s choice keep each its own auth over a reload', async () => {
  const listen = '[{ port: 0, auth: open }, { port: 0 }]';
  const { gateway, reload } = await stage('', listen);
  const ports = gateway.listeners.map(({ address }) => address.port);
  await reload(ALICES, listen);
  expect(gateway.listeners.map(({ address }) => address.port)).toEqual(ports);
  const keyless = ports.map((port) => statusOf(fetch(`http://127.0.0.1:${port}/v1/models`)));
  expect(await Promise.all(keyless)).toEqual([200, 401]);
});

test('a port that is taken leaves everything as it was', async () => {
  const taken = createServer().listen(0, '127.0.0.1');
  onTestFinished(() => void taken.close());
  await once(taken, 'listening');
  const { port } = taken.address() as AddressInfo;
  const spare = await freePort();
  const { gateway, reload } = await stage();
  await expect(reload(ALICES, `[{ port: 0 }, { port: ${spare} }, { port: ${port} }]`)).rejects.toThrow('EADDRINUSE');
  expect(gateway.listeners).toHaveLength(1);
  expect(await statusOf(gateway.ask(CHAT, WHOLE, AS_ALICE))).toBe(401);
  await expect(fetch(`http://127.0.0.1:${spare}/health`)).rejects.toThrow();
});

async function program() {
  const engine = await startEngine({ kind: 'vllm', models: ['llama'] });
  onTestFinished(() => engine.stop());
  const text = (more: string): string => `listen: [{ port: 0 }]\n${fleet(engine, more)}`;
  const lanyard = await startLanyard({ yaml: text(''), env: { LITELLM_MASTER_KEY: KEY } });
  const models = (key: string): Promise<number> =>
    statusOf(fetch(`${lanyard.url}/v1/models`, { headers: { authorization: `Bearer ${key}` } }));
  const said = (msg: string) => lanyard.log().filter((line) => line['msg'] === msg);
  return { engine, lanyard, text, models, said };
}

test('the program takes a changed file by itself, and a bad one changes nothing and is told with its place', async () => {
  const { lanyard, text, models, said } = await program();
  expect(await models(ALICE)).toBe(401);
  // Asked of the log: a wrong key tried over and over is soon refused for that.
  const taken = (times: number) =>
    expect.poll(() => said('configuration reloaded').length, { timeout: 10_000 }).toBe(times);
  lanyard.configure(text(ALICES));
  await taken(1);
  expect(await models(ALICE)).toBe(200);
  lanyard.configure(text('limits: { burts: 3 }\nauth: { keys: [{ name: alice }] }'));
  const refused = 'configuration refused, the old one stays';
  await expect.poll(() => said(refused).length, { timeout: 10_000 }).toBe(2);
  for (const { fault } of said(refused)) expect(fault).toMatch(/^config\/lanyard\.yaml:\d+:\d+ .+/);
  expect(await models(ALICE)).toBe(200);
  const metrics = await (await fetch(`${lanyard.url}/metrics`)).text();
  expect(metrics).toContain('lanyard_config_reloads_total{result="ok"} 1');
  expect(metrics).toContain('lanyard_config_reloads_total{result="refused"} 1');
  lanyard.configure(text(''));
  await taken(2);
  expect(await models(ALICE)).toBe(401);
});

test('SIGHUP reads the file at once, and a stream under way does not notice', async () => {
  const { engine, lanyard, text, models, said } = await program();
  engine.next({ kind: 'hold_after', events: 2 });
  const stream = await call(lanyard.port, CHAT, { ...WHOLE, stream: true });
  await stream.until('data: ');
  lanyard.configure(text(ALICES));
  lanyard.signal('SIGHUP');
  await expect.poll(() => said('configuration reloaded').length, { interval: 10 }).toBeGreaterThan(0);
  expect(await models(ALICE)).toBe(200);
  engine.release();
  expect(await stream.whole()).toContain('data: [DONE]');
  expect(lanyard.stdout() + lanyard.stderr()).not.toContain(KEY);
});
