// The plain pages: models, health, ready, the root. They tell what is known and never ask a backend.
import { expect, onTestFinished, test } from 'vitest';
import { startEngine, type FakeEngine } from '../engines/engine.ts';
import { KEY, openGateway } from '../stage/gateway.ts';
import { openLine } from '../stage/line.ts';
import { freePort } from '../stage/ports.ts';
import { dial } from '../stage/raw.ts';

interface Model {
  id: string;
  object: string;
  created: number;
  owned_by: string;
  context_length?: number;
  capabilities?: string[];
  max_model_len?: number;
  metadata?: Record<string, unknown>;
}

async function json<T>(answer: Response): Promise<T> {
  expect(answer.status).toBe(200);
  expect(answer.headers.get('content-type')).toMatch(/^application\/json/);
  return (await answer.json()) as T;
}

async function engineOf(...options: Parameters<typeof startEngine>): Promise<FakeEngine> {
  const engine = await startEngine(...options);
  onTestFinished(() => engine.stop());
  return engine;
}

test('models of each kind of engine are listed in order, with their context where it tells it', async () => {
  const ollama = await engineOf({
    kind: 'ollama',
    models: [{ name: 'llava:13b', context_trained: 32_768, vision: true }],
  });
  const vllm = await engineOf({ kind: 'vllm', models: [{ name: 'org/Big', context: 131_072 }] });
  const llamacpp = await engineOf({
    kind: 'llama.cpp',
    models: [{ name: 'small', context: 8192, context_trained: 32_768 }],
  });
  const openai = await engineOf({ kind: 'openai', models: ['plain'] });
  const gateway = await openGateway(`
backends:
  a: { engine: ollama, url: "${ollama.url}" }
  b: { engine: vllm, url: "${vllm.url}" }
  c: { engine: llama.cpp, url: "${llamacpp.url}" }
  d: { engine: openai, url: "${openai.url}" }
models:
  zeta: [d/plain]
  big: [b/org/Big]
  both: ["b/org/Big", c/small]
  eyes: { serve: ["a/llava:13b"], metadata: { task: pictures, temperature: 0.2 } }
  alpha: [c/small]
`);
  const { object, data } = await json<{ object: string; data: Model[] }>(await gateway.ask('/v1/models'));
  expect(object).toBe('list');
  expect(data.map(({ id }) => id)).toEqual(['alpha', 'big', 'both', 'eyes', 'zeta']);
  for (const model of data)
    expect(model).toMatchObject({ object: 'model', created: 1_700_000_000, owned_by: 'lanyard' });
  const found = Object.fromEntries(data.map((model) => [model.id, model]));
  expect(found['big']?.context_length).toBe(131_072);
  expect(found['big']?.max_model_len).toBe(131_072);
  // llama.cpp: what is loaded, not what it was trained for; of two deployments, the smaller.
  expect(found['alpha']?.context_length).toBe(8192);
  expect(found['both']?.context_length).toBe(8192);
  expect(found['zeta']).not.toHaveProperty('context_length');
  // Ollama tells of each model by itself, and is asked without loading it.
  expect(found['eyes']?.capabilities).toEqual(['completion', 'tools', 'vision']);
  expect(found['zeta']).not.toHaveProperty('capabilities');
  // What the operator says of a model stands there as written.
  expect(found['eyes']?.metadata).toEqual({ task: 'pictures', temperature: 0.2 });
  expect(found['zeta']).not.toHaveProperty('metadata');
  expect(ollama.asked).toHaveLength(0);
});

test('the same list stands under every prefix, and one model is as it stands in the list', async () => {
  const { gateway } = await openLine();
  const whole = await json<{ data: Model[] }>(await gateway.ask('/v1/models'));
  for (const prefix of ['', '/v3']) expect(await json(await gateway.ask(`${prefix}/models`))).toEqual(whole);
  for (const prefix of ['/v1', '', '/v3']) {
    expect(await json(await gateway.ask(`${prefix}/models/coder`))).toEqual(whole.data[0]);
  }
});

test('created does not move between starts and gateways', async () => {
  const lists = [await openLine(), await openLine({ kind: 'openai' })].map(async ({ gateway }) => {
    const { data } = await json<{ data: Model[] }>(await gateway.ask('/v1/models'));
    return data[0]?.created;
  });
  expect(new Set(await Promise.all(lists))).toEqual(new Set([1_700_000_000]));
});

test('ids with slashes and colons are found raw and percent-encoded, decoded once', async () => {
  const engine = await engineOf({ kind: 'ollama', models: ['hf.co/bartowski/Qwen2.5:Q4_K_M', 'a b', '100%'] });
  const gateway = await openGateway(`backends: { desk: { engine: ollama, url: "${engine.url}" } }`);
  const id = 'hf.co/bartowski/Qwen2.5:Q4_K_M';
  for (const written of [id, encodeURIComponent(id), id.replaceAll('/', '%2F'), id.replace(':', '%3a'), `${id}?x=1`]) {
    expect(await json<Model>(await gateway.ask(`/v1/models/${written}`)), written).toMatchObject({ id });
  }
  expect(await json<Model>(await gateway.ask('/v1/models/a%20b'))).toMatchObject({ id: 'a b' });
  expect(await json<Model>(await gateway.ask('/v1/models/100%25'))).toMatchObject({ id: '100%' });
  for (const wrong of [encodeURIComponent(encodeURIComponent(id)), '%', '%ff', 'no', '../models/a%20b/x', `${id}/`]) {
    const answer = await gateway.ask(`/v1/models/${wrong}`);
    expect(answer.status, wrong).toBe(404);
    expect(await answer.json()).toMatchObject({
      error: { code: expect.stringMatching(/model_not_found|unknown_url/) },
    });
  }
});

test('no page asks a backend', async () => {
  const { gateway, engine } = await openLine();
  const seen = engine.seen.length;
  for (const path of [
    '/v1/models',
    '/v1/models/coder',
    '/v1/models/no',
    '/health',
    '/health/ready',
    '/metrics',
    '/',
    '/no',
  ]) {
    await (await gateway.ask(path)).text();
  }
  expect(engine.seen).toHaveLength(seen);
});

test('health answers within 50 ms, without a key, while every backend hangs', async () => {
  const { gateway, engine, chat } = await openLine();
  engine.probes('hang');
  engine.always({ kind: 'hang' });
  const hanging = [1, 2, 3].map(() => gateway.ask('/v1/chat/completions', chat()).catch(() => undefined));
  await engine.until(({ in_flight }) => in_flight === 3);
  const took: number[] = [];
  for (let n = 0; n < 20; n += 1) {
    const began = performance.now();
    const body = await json<Record<string, unknown>>(await fetch(`${gateway.url}/health`));
    took.push(performance.now() - began);
    expect(body).toEqual({ status: 'ok', version: 'test' });
  }
  expect(took.toSorted((a, b) => a - b)[10]).toBeLessThan(50);
  await engine.stop();
  await Promise.all(hanging);
});

test('ready is 503 until the first probes have answered, and health is not', async () => {
  const engine = await engineOf({ kind: 'vllm' });
  engine.probes('hang');
  const port = await freePort();
  const starting = openGateway(`backends: { rack: { engine: vllm, url: "${engine.url}" } }`, {
    listen: `[{ port: ${port} }]`,
  });
  await engine.until(({ seen }) => seen.length === 1);
  const early = await fetch(`http://127.0.0.1:${port}/health/ready`);
  expect(early.status).toBe(503);
  expect(await early.json()).toEqual({ status: 'starting' });
  expect((await fetch(`http://127.0.0.1:${port}/health`)).status).toBe(200);
  // A backend that is away does not make the gateway unready.
  await engine.stop();
  const gateway = await starting;
  expect(await json(await fetch(`${gateway.url}/health/ready`))).toEqual({ status: 'ready' });
});

test('ready is 503 while draining, to whoever is still asking', async () => {
  const { gateway, engine, chat } = await openLine();
  engine.next({ kind: 'hold' });
  const call = gateway.ask('/v1/chat/completions', chat());
  const asking = await dial(gateway.port, 'GET /health/ready HTTP/1.1\r\nHost: gateway\r\n');
  await engine.until(({ held }) => held === 1);
  const stopping = gateway.stop(2_000);
  asking.socket.write('\r\n');
  const [ready] = await asking.until(1);
  expect(ready?.status).toBe(503);
  expect(ready?.body).toBe('{"status":"draining"}');
  expect(ready?.headers['connection']).toBe('close');
  engine.release();
  expect(await (await call).text()).toContain('[DONE]');
  await stopping;
});

test('the root names the service, its version and where to read on', async () => {
  const { gateway } = await openLine();
  const root = await json<Record<string, unknown>>(await fetch(`${gateway.url}/`));
  expect(root).toMatchObject({ service: 'Lanyard', version: 'test' });
  expect(root['documentation']).toBeTruthy();
});

test('every answer carries an id of our own and the instance; the client’s own id goes nowhere', async () => {
  const { gateway, engine } = await openLine();
  const ids = new Set<string>();
  const instances = new Set<string>();
  const headers = { 'x-request-id': 'forged-by-the-client' };
  const asked: [string, unknown?][] = [
    ['/v1/chat/completions', { model: 'coder', messages: [] }],
    ['/v1/chat/completions', { model: 'coder', messages: [], stream: true }],
    ['/v1/embeddings', { model: 'coder', input: 'x' }],
    ['/v1/chat/completions', '{'],
    ['/v1/chat/completions', { model: 'no', messages: [] }],
    ['/v1/models'],
    ['/health'],
    ['/metrics'],
    ['/'],
    ['/nowhere'],
  ];
  for (const [path, body] of asked) {
    const answer = await gateway.ask(path, body, { headers });
    ids.add(answer.headers.get('x-request-id') ?? '');
    instances.add(answer.headers.get('x-lanyard-instance') ?? '');
    expect(answer.headers.get('x-accel-buffering')).toBe('no');
    expect(answer.headers.get('cache-control')).toBe('no-cache, no-transform');
    expect(answer.headers.get('x-powered-by')).toBeNull();
    expect(await answer.text()).not.toContain('forged');
  }
  expect(ids.size).toBe(asked.length);
  expect([...ids].every((id) => /^req_[0-9a-f]{32}$/.test(id))).toBe(true);
  expect(instances.size).toBe(1);
  for (const { headers: sent } of engine.asked) {
    expect(sent['x-request-id']).not.toBe('forged-by-the-client');
    expect(JSON.stringify(sent)).not.toContain(KEY);
  }
  for (const outcome of gateway.outcomes()) expect(ids).toContain(outcome['id']);
});
