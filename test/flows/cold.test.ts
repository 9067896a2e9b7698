// Models that are not in memory: loaded once for all who ask, before they are asked; the load goes on when one leaves; whoever
// holds the model already is preferred; how long it took is remembered.
import { describe, expect, onTestFinished, test } from 'vitest';
import { startEngine, type FakeEngine } from '../engines/engine.ts';
import { call } from '../stage/caller.ts';
import { openGateway, type Stage } from '../stage/gateway.ts';
import { freePort } from '../stage/ports.ts';

const CHAT = '/v1/chat/completions';
const chat = { model: 'coder', messages: [{ role: 'user', content: 'Hi' }] };

async function ollama(options: Partial<Parameters<typeof startEngine>[0]> = {}): Promise<FakeEngine> {
  const engine = await startEngine({ kind: 'ollama', models: ['m'], ...options });
  onTestFinished(() => engine.stop());
  return engine;
}

async function before(engines: Readonly<Record<string, FakeEngine>>, more = '', deployment = ''): Promise<Stage> {
  const names = Object.keys(engines);
  return await openGateway(`
${more}
backends:
${names.map((name) => `  ${name}: { engine: ollama, url: "${engines[name]?.url}" }`).join('\n')}
models:
  coder: [${names.map((name) => (deployment === '' ? `${name}/m` : `{ deployment: ${name}/m, ${deployment} }`)).join(', ')}]
`);
}

const loads = ({ seen }: FakeEngine): object[] =>
  seen
    .filter(({ path, body }) => path === '/api/generate' && !body.includes('"prompt"'))
    .map(({ body }) => JSON.parse(body.toString()) as object);

describe('a cold model', () => {
  test('is loaded once for all who ask for it, and none holds a slot meanwhile', async () => {
    const engine = await ollama({ load_ms: 200 });
    const gateway = await before({ desk: engine });
    const all = Array.from({ length: 10 }, () => gateway.ask(CHAT, chat));
    await expect.poll(() => loads(engine).length).toBe(1);
    expect(gateway.fleet.in_flight).toBe(0);
    for (const { status } of await Promise.all(all)) expect(status).toBe(200);
    expect(loads(engine)).toHaveLength(1);
    expect(await gateway.metric('lanyard_model_load_seconds_count')).toBe(10);
    for (const outcome of gateway.outcomes()) expect(outcome['load_ms']).toBeGreaterThan(50);
    // Warm, it is asked at once.
    expect((await gateway.ask(CHAT, chat)).status).toBe(200);
    expect(loads(engine)).toHaveLength(1);
  });

  test('goes on loading when the one who asked first leaves, for the others and for who comes back', async () => {
    const engine = await ollama({ load_ms: 300 });
    const gateway = await before({ desk: engine });
    const first = await call(gateway.port, CHAT, chat);
    await expect.poll(() => loads(engine).length).toBe(1);
    const second = gateway.ask(CHAT, chat);
    first.leave('fin');
    await expect.poll(() => gateway.outcomes()).toMatchObject([{ end: 'client_closed' }]);
    expect((await second).status).toBe(200);
    expect(loads(engine)).toHaveLength(1);
    expect(engine.seen.every(({ ended }) => ended === 'complete')).toBe(true);
  });

  test('goes on loading when all have left, so that the next finds it warm', async () => {
    const engine = await ollama({ load_ms: 200 });
    const gateway = await before({ desk: engine });
    const caller = await call(gateway.port, CHAT, chat);
    await expect.poll(() => loads(engine).length).toBe(1);
    caller.leave('reset');
    await engine.until(({ seen }) => seen.some(({ path, ended }) => path === '/api/generate' && ended === 'complete'));
    expect((await gateway.ask(CHAT, chat)).status).toBe(200);
    expect(loads(engine)).toHaveLength(1);
  });

  test('keeps a stream alive while it loads', async () => {
    const engine = await ollama({ load_ms: 400 });
    const gateway = await before({ desk: engine }, 'limits: { ip: off, keep_alive_ms: 100ms }');
    const text = await (await call(gateway.port, CHAT, { ...chat, stream: true })).whole();
    expect(text).toMatch(/^: keep-alive\n\n/);
    expect(text).toMatch(/data: \[DONE\]\n\n$/);
  });

  test('that takes longer than load_ms is 503 with a time to come back', async () => {
    const engine = await ollama({ load_ms: 60_000 });
    const gateway = await before({ desk: engine }, 'limits: { ip: off, load_ms: 100ms }');
    const answer = await gateway.ask(CHAT, chat);
    expect(answer.status).toBe(503);
    expect(await answer.json()).toMatchObject({ error: { code: 'model_loading' } });
    expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0);
  });

  test('that is not there is model_not_found, as ever', async () => {
    const engine = await ollama({ models: ['m'] });
    const gateway = await before({ desk: engine });
    engine.set_models(['other']);
    expect(await (await gateway.ask(CHAT, chat)).json()).toMatchObject({ error: { code: 'model_not_found' } });
  });

  test('is left alone where another backend holds it, however busy that is', async () => {
    const [warm, cold] = [await ollama(), await ollama()];
    await (
      await fetch(`${warm.url}/v1/chat/completions`, {
        method: 'POST',
        body: JSON.stringify({ model: 'm', messages: [] }),
      })
    ).text();
    const gateway = await before({ cold, warm });
    warm.always({ kind: 'hold' });
    const all = Array.from({ length: 8 }, () => gateway.ask(CHAT, chat));
    await warm.until(({ held }) => held === 8);
    warm.always(undefined);
    warm.release();
    for (const { status } of await Promise.all(all)) expect(status).toBe(200);
    expect(cold.asked).toHaveLength(0);
    expect(loads(cold)).toHaveLength(0);
  });

  test('is loaded with the context and the time in memory that the file says', async () => {
    const engine = await ollama();
    const gateway = await before({ desk: engine }, '', 'num_ctx: 16384, keep_alive: 30m');
    expect((await gateway.ask(CHAT, chat)).status).toBe(200);
    expect(loads(engine)).toEqual([{ model: 'm', stream: false, keep_alive: 1800, options: { num_ctx: 16_384 } }]);
    // And asked so, in the one way in which Ollama takes them.
    const [asked] = engine.asked;
    expect(asked?.path).toBe('/api/chat');
    expect(JSON.parse(asked?.body.toString() ?? '')).toMatchObject({
      keep_alive: 1800,
      truncate: false,
      options: { num_ctx: 16_384 },
    });
  });
});

test('a llama.cpp router is told to load, and asked until it has', async () => {
  const engine = await startEngine({ kind: 'llama.cpp', models: ['a', 'b'], router: true, load_ms: 300 });
  onTestFinished(() => engine.stop());
  const gateway = await openGateway(`
backends: { rack: { engine: llama.cpp, url: "${engine.url}" } }
models: { coder: [rack/a] }
`);
  const all = await Promise.all([1, 2, 3].map(() => gateway.ask(CHAT, chat)));
  expect(all.map(({ status }) => status)).toEqual([200, 200, 200]);
  expect(engine.seen.filter(({ path }) => path === '/models/load')).toHaveLength(1);
});

test('a server that starts is waited for, once it has been seen how long that takes', async () => {
  const port = await freePort();
  const start = (): Promise<FakeEngine> => startEngine({ kind: 'llama.cpp', models: ['m'], port, load_ms: 600 });
  let engine = await start();
  onTestFinished(() => engine.stop());
  const gateway = await openGateway(
    `backends: { rack: { engine: llama.cpp, url: "${engine.url}" } }\nmodels: { coder: [rack/m] }\n`,
    { probing: { soon_ms: 50 } },
  );
  const first = await gateway.ask(CHAT, chat);
  expect([first.status, ((await first.json()) as { error: { code: string } }).error.code]).toEqual([
    503,
    'model_loading',
  ]);
  await expect.poll(() => gateway.fleet.backends.get('rack')?.available, { timeout: 5_000 }).toBe(true);
  expect((await gateway.ask(CHAT, chat)).status).toBe(200);
  await engine.stop();
  engine = await start();
  // Now it is known to take less than anyone's patience.
  expect((await gateway.ask(CHAT, chat)).status).toBe(200);
});
