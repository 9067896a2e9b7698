// A backend that keeps failing is left alone until it has shown that it is back: what takes it out, what never does, how
// it comes back, and that busy is not dead. Probes come often here, or not at all, as each test needs.
import { describe, expect, onTestFinished, test } from 'vitest';
import { startEngine, type EngineKind, type FakeEngine, type Fault } from '../engines/engine.ts';
import { openGateway, type Stage } from '../stage/gateway.ts';

const CHAT = { model: 'm', messages: [{ role: 'user', content: 'Hi' }] };
/** Probes at once and often, each with little patience. */
const OFTEN = { every_ms: 40, soon_ms: 20, wait_ms: 150 };
/** After the first probe none within the test. */
const NEVER = { every_ms: 600_000, soon_ms: 600_000 };

async function stage(
  probing: typeof OFTEN | typeof NEVER,
  { kind = 'vllm', slots = 8, ...more }: Partial<Parameters<typeof startEngine>[0]> = {},
): Promise<{ engine: FakeEngine; gateway: Stage; ask: (body?: object) => Promise<Response> }> {
  const engine = await startEngine({ kind, models: ['x'], ...more });
  onTestFinished(() => engine.stop());
  const gateway = await openGateway(
    `
limits: { ip: off, first_byte_ms: 10s, queue_wait_ms: 5s }
backends:
  rack: { engine: ${kind === 'lmstudio' || kind === 'sglang' || kind === 'openvino' ? 'openai' : kind}, url: "${engine.url}", slots: ${slots} }
models:
  m: [rack/x]
`,
    { probing },
  );
  return { engine, gateway, ask: (body = {}) => gateway.ask('/v1/chat/completions', { ...CHAT, ...body }) };
}

const health = (gateway: Stage): string | undefined => gateway.fleet.backends.get('rack')?.health;

const becomes = (gateway: Stage, state: string): Promise<void> =>
  expect.poll(() => health(gateway), { interval: 5 }).toBe(state);

const code = async (answer: Response): Promise<string> =>
  ((await answer.json()) as { error: { code: string } }).error.code;

const FAILURES = [
  ['a 500', { kind: 'error', what: 'internal' }, false],
  ['a proxy’s 502 page', { kind: 'html', status: 502 }, false],
  ['a 504', { kind: 'status', status: 504 }, false],
  ['a reset', { kind: 'reset' }, false],
  ['something that is not HTTP', { kind: 'garbage' }, false],
  ['an answer cut short', { kind: 'die_after', events: 1 }, false],
  ['a stream cut short', { kind: 'die_after', events: 2 }, true],
  ['a stream that ends without an end', { kind: 'end_after', events: 2 }, true],
  ['200 and no JSON', { kind: 'bad_json' }, false],
] satisfies [string, Fault, boolean][];

describe.each(FAILURES)('%s', (_name, fault, stream) => {
  // No socket is used twice, so that a reset is what it seems.
  const fresh = { keep_alive_ms: 500 };

  test('five times running takes the backend out, and it is not asked again', async () => {
    const { engine, gateway, ask } = await stage(NEVER, fresh);
    for (let at = 1; at <= 5; at += 1) {
      expect(health(gateway)).toBe('up');
      engine.next(fault);
      await (await ask({ stream })).text();
    }
    expect(health(gateway)).toBe('down');
    expect(await gateway.metric('lanyard_backend_up')).toBe(0);
    const answer = await ask({ stream });
    expect([answer.status, await code(answer)]).toEqual([503, 'backend_unavailable']);
    const last = { model: 'm', backend: '', status: 503, end: 'rejected' };
    await expect.poll(() => gateway.outcomes().at(-1)).toMatchObject(last);
    expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0);
    expect(answer.headers.get('x-should-retry')).toBeNull();
    expect(engine.asked).toHaveLength(5);
    expect(gateway.logged()).toContain('"backend":"rack","was":"up","reason":"');
  });

  test('with a good answer in between does not', async () => {
    const { engine, gateway, ask } = await stage(NEVER, fresh);
    for (const each of [fault, fault, fault, fault, undefined, fault, fault, fault, fault]) {
      engine.next(each ?? { kind: 'delay', ms: 0 });
      await (await ask({ stream })).text();
    }
    expect(health(gateway)).toBe('up');
  });
});

describe('never against a backend counts', () => {
  test.each([
    ['a call it refuses', { kind: 'error', what: 'bad_request' }],
    ['a context that is too long', { kind: 'error', what: 'overflow' }],
    ['a model it does not know', { kind: 'error', what: 'unknown_model' }],
    ['that it is overloaded', { kind: 'status', status: 429 }],
    ['that it is busy', { kind: 'status', status: 503 }],
    ['a key it refuses', { kind: 'status', status: 401 }],
  ] satisfies [string, Fault][])('%s', async (_name, fault) => {
    const { engine, gateway, ask } = await stage(NEVER);
    engine.always(fault);
    for (let at = 0; at < 7; at += 1) await (await ask()).text();
    expect([health(gateway), engine.asked.length]).toEqual(['up', 7]);
  });

  test.each([
    ['before the answer', { kind: 'hold' }, false],
    ['before a stream', { kind: 'hold' }, true],
    ['in the middle of a stream', { kind: 'hold_after', events: 2 }, true],
  ] satisfies [string, Fault, boolean][])('a caller who leaves %s', async (_name, fault, stream) => {
    const { engine, gateway, ask } = await stage(NEVER);
    engine.always(fault);
    for (let at = 1; at <= 7; at += 1) {
      const leaver = new AbortController();
      const left = gateway
        .ask('/v1/chat/completions', { ...CHAT, stream }, { signal: leaver.signal })
        .then((answer) => answer.text());
      left.catch(() => undefined);
      await engine.until(({ held }) => held === 1);
      leaver.abort();
      await engine.until(({ held, asked }) => held === 0 && asked.at(-1)?.ended === 'aborted');
    }
    await expect.poll(() => gateway.outcomes()).toHaveLength(7);
    expect(gateway.outcomes().every(({ end }) => end === 'client_closed')).toBe(true);
    expect(health(gateway)).toBe('up');
    engine.always(undefined);
    expect((await ask()).status).toBe(200);
    expect(await gateway.metric('lanyard_upstream_errors_total')).toBe(0);
  });
});

describe('a backend that was taken out', () => {
  const takeOut = async ({ engine, gateway, ask }: Awaited<ReturnType<typeof stage>>): Promise<void> => {
    engine.always({ kind: 'error', what: 'internal' });
    for (let at = 0; at < 5; at += 1) await (await ask()).text();
    await becomes(gateway, 'half-open');
  };

  test('is probed, then tried by exactly one call, and its success lets the others through', async () => {
    const set = await stage(OFTEN);
    const { engine, gateway, ask } = set;
    await takeOut(set);
    engine.always({ kind: 'hold' });
    const answers = [ask(), ask(), ask(), ask()];
    await expect.poll(() => gateway.fleet.queue.length).toBe(3);
    await engine.until(({ held }) => held === 1);
    expect([engine.asked.length, health(gateway)]).toEqual([6, 'half-open']);
    engine.release();
    await engine.until(({ held }) => held === 3);
    expect([engine.asked.length, health(gateway)]).toEqual([9, 'up']);
    engine.release();
    expect((await Promise.all(answers)).map(({ status }) => status)).toEqual([200, 200, 200, 200]);
    expect(gateway.logged()).toContain('backend half-open');
    expect(gateway.logged()).toContain('backend up');
  });

  test('is left alone again when that one call fails', async () => {
    const set = await stage(OFTEN);
    const { engine, gateway, ask } = set;
    await takeOut(set);
    engine.probes('hang');
    await (await ask()).text();
    expect([health(gateway), engine.asked.length]).toEqual(['down', 6]);
    const answer = await ask();
    expect([answer.status, await code(answer)]).toEqual([503, 'backend_unavailable']);
    expect(engine.asked).toHaveLength(6);
    engine.probes(undefined);
    engine.always(undefined);
    await becomes(gateway, 'half-open');
    expect((await ask()).status).toBe(200);
    expect(health(gateway)).toBe('up');
  });

  test('is tried by another when the caller of that one call leaves', async () => {
    const set = await stage(OFTEN);
    const { engine, gateway, ask } = set;
    await takeOut(set);
    engine.always(undefined);
    engine.next({ kind: 'hold' });
    const leaver = new AbortController();
    const left = gateway.ask('/v1/chat/completions', CHAT, { signal: leaver.signal });
    await engine.until(({ held }) => held === 1);
    const waiting = ask();
    await expect.poll(() => gateway.fleet.queue.length).toBe(1);
    leaver.abort();
    await expect(left).rejects.toThrow('aborted');
    expect((await waiting).status).toBe(200);
    expect(health(gateway)).toBe('up');
  });

  test('is tried even while streams from before go on', async () => {
    const set = await stage(OFTEN);
    const { engine, gateway, ask } = set;
    engine.next({ kind: 'hold_after', events: 3 });
    const stream = await ask({ stream: true });
    await engine.until(({ held }) => held === 1);
    await takeOut(set);
    engine.always(undefined);
    expect((await ask()).status).toBe(200);
    expect(health(gateway)).toBe('up');
    engine.release();
    expect((await stream.text()).endsWith('data: [DONE]\n\n')).toBe(true);
  });

  test('is not given to a call that waits', async () => {
    const { engine, gateway, ask } = await stage(NEVER, { slots: 1 });
    engine.always({ kind: 'error', what: 'internal' });
    for (let at = 0; at < 4; at += 1) await (await ask()).text();
    engine.always(undefined);
    engine.next({
      kind: 'all',
      faults: [
        { kind: 'delay', ms: 100 },
        { kind: 'error', what: 'internal' },
      ],
    });
    const last = ask();
    await engine.until(({ asked }) => asked.length === 5);
    const leaver = new AbortController();
    const waiting = gateway.ask('/v1/chat/completions', CHAT, { signal: leaver.signal });
    waiting.catch(() => undefined);
    await expect.poll(() => gateway.fleet.queue.length).toBe(1);
    expect((await last).status).toBe(502);
    expect([health(gateway), engine.asked.length, gateway.fleet.queue.length]).toEqual(['down', 5, 1]);
    leaver.abort();
  });

  test('by one refused connection, comes back when the engine does, and calls that waited run', async () => {
    const { engine, gateway, ask } = await stage(OFTEN);
    await engine.stop();
    await (await ask()).text();
    expect(health(gateway)).toBe('down');
    const again = await startEngine({ kind: 'vllm', models: ['x'], port: engine.port });
    onTestFinished(() => again.stop());
    await becomes(gateway, 'half-open');
    expect((await Promise.all([ask(), ask()])).map(({ status }) => status)).toEqual([200, 200]);
    expect(health(gateway)).toBe('up');
  });
});

describe('busy is not dead', () => {
  test.each(['hang', '500'] as const)('a backend whose bytes flow is kept, though its probes %s', async (fault) => {
    const { engine, gateway, ask } = await stage(OFTEN);
    engine.next({ kind: 'hold_after', events: 3 });
    const stream = await ask({ stream: true });
    await engine.until(({ held }) => held === 1);
    engine.probes(fault);
    const probes = engine.seen.length;
    await engine.until(({ seen }) => seen.slice(probes).filter(({ ended }) => ended !== undefined).length >= 3);
    expect(health(gateway)).toBe('up');
    expect((await ask()).status).toBe(200);
    engine.release();
    expect((await stream.text()).endsWith('data: [DONE]\n\n')).toBe(true);
  });

  test('a backend that never said a word is not', async () => {
    const { engine, gateway, ask } = await stage(OFTEN);
    engine.probes('hang');
    await becomes(gateway, 'down');
    expect(await code(await ask())).toBe('backend_unavailable');
  });

  test('a backend that closes its port is not, whatever flowed', async () => {
    const { engine, gateway, ask } = await stage(OFTEN);
    await (await ask()).text();
    await engine.stop();
    await becomes(gateway, 'down');
  });
});

describe('probes', () => {
  test.each(['ollama', 'vllm', 'llama.cpp', 'openai', 'lmstudio', 'sglang', 'openvino'] satisfies EngineKind[])(
    'of %s never infer and never load a model',
    async (kind) => {
      const { engine } = await stage(OFTEN, { kind, load_ms: kind === 'ollama' || kind === 'lmstudio' ? 60_000 : 0 });
      const lists = (seen: FakeEngine['seen']): number => seen.filter(({ path }) => /models$|tags$/.test(path)).length;
      await engine.until(({ seen }) => lists(seen) >= 4);
      expect(engine.asked).toHaveLength(0);
      // Ollama tells what a model can do by POST, and loads nothing for it.
      const others = engine.seen.filter(({ path }) => path !== '/api/show');
      expect(others.every(({ method, path }) => method === 'GET' && !/generate|model=/.test(path))).toBe(true);
      if (kind !== 'ollama') return;
      expect(await (await fetch(`${engine.url}/api/ps`)).json()).toEqual({ models: [] });
    },
  );
});

describe('a model that is being loaded', () => {
  test('makes a 503 that says so and when to come back, and is served once it is there', async () => {
    const { engine, gateway, ask } = await stage(OFTEN, { kind: 'llama.cpp', load_ms: 700 });
    const answer = await ask();
    expect([answer.status, await code(answer)]).toEqual([503, 'model_loading']);
    expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0);
    expect(answer.headers.get('x-should-retry')).toBeNull();
    expect(engine.asked).toHaveLength(0);
    await expect.poll(() => health(gateway), { interval: 5 }).not.toBe('down');
    expect((await ask()).status).toBe(200);
  });

  test('as a call finds out says the same', async () => {
    const { engine, gateway, ask } = await stage(NEVER, { kind: 'llama.cpp' });
    engine.next({ kind: 'error', what: 'loading' });
    const answer = await ask();
    expect([answer.status, await code(answer)]).toEqual([503, 'model_loading']);
    expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0);
    // Nobody else need hear it from the engine: a probe will tell when it is there.
    expect([health(gateway), gateway.fleet.backends.get('rack')?.reason]).toEqual(['down', 'loading']);
  });
});
