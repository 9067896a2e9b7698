// The live memory itself: slots given back once, the budget for retries, what is published and how it is described.
import { afterEach, describe, expect, test } from 'vitest';
import { Backend, type Candidate, type Health } from '../../src/fleet/backend.ts';
import { ENGINES } from '../../src/fleet/engines/all.ts';
import type { ModelInfo } from '../../src/fleet/engines/engine.ts';
import { Fleet, describe as described } from '../../src/fleet/fleet.ts';
import type { BackendConfig, ModelConfig } from '../../src/types.ts';
import { stageConfig } from '../stage/gateway.ts';
import { startEngine } from '../engines/engine.ts';

const open: { stop(): Promise<void> }[] = [];
afterEach(async () => void (await Promise.all(open.splice(0).map((one) => one.stop()))));

const CONFIG = stageConfig('');
const config = (url: string, more: Partial<BackendConfig> = {}): BackendConfig => ({
  engine: 'vllm',
  url,
  key: undefined,
  slots: undefined,
  publish: [],
  ...more,
});

async function engineUrl(models: string[] = ['x']): Promise<string> {
  const engine = await startEngine({ kind: 'vllm', models });
  open.push(engine);
  return engine.url;
}

/** A fleet, and what it reported of each backend's health. */
function fleetOf(): { fleet: Fleet; told: string[] } {
  const told: string[] = [];
  const fleet = new Fleet(
    { health: ({ name, health }, was) => void told.push(`${name} ${was} ${health}`), unverified: () => undefined },
    { every_ms: 600_000, soon_ms: 600_000 },
  );
  open.push(fleet);
  return { fleet, told };
}

async function fleetWith(
  backends: Record<string, BackendConfig>,
  models?: Record<string, ModelConfig>,
): Promise<Fleet> {
  const { fleet } = fleetOf();
  const map = models === undefined ? undefined : new Map(Object.entries(models));
  await fleet.configure({ ...CONFIG, models: map }, new Map(Object.entries(backends)));
  return fleet;
}

const candidates = (fleet: Fleet, model = 'x'): readonly Candidate[] => fleet.models.get(model)?.candidates ?? [];

describe('a slot', () => {
  test('is counted from the moment it is held, and given back once however often it is released', async () => {
    const fleet = await fleetWith({ a: config(await engineUrl(), { slots: 1 }) });
    const slot = fleet.hold(candidates(fleet));
    expect([fleet.in_flight, fleet.hold(candidates(fleet))]).toEqual([1, undefined]);
    for (let at = 0; at < 3; at += 1) slot?.release();
    expect(fleet.in_flight).toBe(0);
    expect(fleet.hold(candidates(fleet))).toBeDefined();
  });

  test('is taken on the first candidate that has one', async () => {
    const url = await engineUrl();
    const fleet = await fleetWith({ a: config(url, { slots: 1 }), b: config(url, { slots: 1 }) });
    const names = [1, 2, 3].map(() => fleet.hold(candidates(fleet))?.backend.name);
    expect(names).toEqual(['a', 'b', undefined]);
  });

  test('that is waited for is counted before the waiter knows of it', async () => {
    const fleet = await fleetWith({ a: config(await engineUrl(), { slots: 1 }) });
    const first = fleet.hold(candidates(fleet));
    const waiting = fleet.wait('x', candidates(fleet), { wait_ms: 5_000, length_max: 1 }, new AbortController().signal);
    first?.release();
    expect(fleet.in_flight).toBe(1);
    (await waiting).release();
    expect(fleet.in_flight).toBe(0);
  });

  test('of a backend on trial is the only one, until it is given back', async () => {
    const fleet = await fleetWith({ a: config(await engineUrl()) });
    const before = fleet.hold(candidates(fleet));
    const backend = fleet.backends.get('a');
    if (backend !== undefined) backend.health = 'half-open';
    const trial = fleet.hold(candidates(fleet));
    expect([trial?.backend.name, fleet.hold(candidates(fleet))]).toEqual(['a', undefined]);
    before?.release();
    expect(fleet.hold(candidates(fleet))).toBeUndefined();
    trial?.release();
    expect(fleet.hold(candidates(fleet))).toBeDefined();
  });
});

describe('the budget for retries', () => {
  test.each([
    ['three at least', 0, 3],
    ['three while few are in flight', 15, 3],
    ['a fifth of what is in flight', 50, 10],
    ['never more than a fifth', 54, 10],
  ])('is %s', async (_name, in_flight, budget) => {
    const fleet = await fleetWith({ a: config(await engineUrl()) });
    for (let at = 0; at < in_flight; at += 1) fleet.hold(candidates(fleet));
    let begun = 0;
    while (fleet.beginRetry()) begun += 1;
    expect(begun).toBe(budget);
    fleet.endRetries(1);
    expect([fleet.beginRetry(), fleet.beginRetry()]).toEqual([true, false]);
    fleet.endRetries(begun);
  });
});

describe('health', () => {
  const steps: Record<string, (fleet: Fleet, backend: Backend) => void> = {
    fail: (fleet, backend) => fleet.tell(backend, 'status'),
    answer: (fleet, backend) => fleet.tell(backend, 'answering'),
    succeed: (fleet, backend) => fleet.tell(backend, 'succeeded'),
    found: (_fleet, backend) =>
      backend.probed(0, { engine: ENGINES.vllm, models: new Map(), capacity: {}, running: undefined }),
    lost: (_fleet, backend) => backend.probed(performance.now(), { reason: 'timeout', fatal: false }),
    dead: (_fleet, backend) => backend.probed(performance.now(), { reason: 'connect', fatal: true }),
  };

  test.each([
    ['five failures running take it out', 'fail fail fail fail fail', 'down'],
    ['four do not', 'fail fail fail fail', 'up'],
    ['a whole answer ends a run of failures', 'fail fail fail fail succeed fail', 'up'],
    ['an answer that only began does not', 'fail fail fail fail answer fail', 'down'],
    ['a probe lets one call try it', 'fail fail fail fail fail found', 'half-open'],
    ['a call that is answered brings it back', 'fail fail fail fail fail found answer', 'up'],
    ['one failure on trial takes it out again', 'fail fail fail fail fail found fail', 'down'],
    ['so does one right after an answer that only began', 'fail fail fail fail fail found answer fail', 'down'],
    ['but not after a whole one', 'fail fail fail fail fail found answer succeed fail', 'up'],
    ['a lost probe takes out what was never heard of', 'lost', 'down'],
    ['a lost probe is nothing while it answers', 'succeed lost', 'up'],
    ['a closed port is', 'succeed dead', 'down'],
    ['a good probe does not make up for failures', 'fail fail fail fail found fail', 'down'],
  ] satisfies [string, string, Health][])('%s', async (_name, path, end) => {
    const fleet = await fleetWith({ a: config(await engineUrl()) });
    const backend = fleet.backends.get('a');
    if (backend === undefined) throw new Error('no backend');
    for (const step of path.split(' ')) steps[step]?.(fleet, backend);
    expect(backend.health).toBe(end);
  });

  test('is reported when it changes, and only then', async () => {
    const { fleet, told } = fleetOf();
    await fleet.configure(CONFIG, new Map([['a', config(await engineUrl())]]));
    const [backend] = fleet.backends.values();
    if (backend === undefined) throw new Error('no backend');
    for (let at = 0; at < 7; at += 1) fleet.tell(backend, 'status');
    for (let at = 0; at < 3; at += 1) fleet.tell(backend, 'succeeded');
    expect(told).toEqual(['a unknown up', 'a up down', 'a down up']);
  });
});

describe('what is published', () => {
  const names = (fleet: Fleet): Record<string, string[]> =>
    Object.fromEntries(
      [...fleet.models].map(([id, { candidates }]) => [
        id,
        candidates.map(({ backend, name, model }) => `${model}=${backend.name}/${name}`),
      ]),
    );

  test('without a map: every discovered model, from each backend that has it', async () => {
    const fleet = await fleetWith({ a: config(await engineUrl(['p', 'q'])), b: config(await engineUrl(['q'])) });
    expect(names(fleet)).toEqual({ p: ['p=a/p'], q: ['q=a/q', 'q=b/q'] });
  });

  test('with a map: what it names, found or not, and what a backend publishes besides', async () => {
    const fleet = await fleetWith(
      { a: config(await engineUrl(['p', 'q', 'r']), { publish: ['p', 'q'] }), b: config(await engineUrl(['q', 'r'])) },
      {
        m: {
          serve: [
            { backend: 'b', name: 'r' },
            { backend: 'a', name: 'not-there' },
          ],
          fallback: ['q'],
          metadata: {},
        },
        q: { serve: [{ backend: 'b', name: 'q' }], fallback: [], metadata: {} },
      },
    );
    expect(names(fleet)).toEqual({ m: ['m=b/r', 'm=a/not-there'], q: ['q=b/q'], p: ['p=a/p'] });
    expect(fleet.models.get('m')?.fallback).toEqual(['q']);
  });
});

describe('a model is described by', () => {
  const info = (context_length: number | undefined, capabilities: string[]): ModelInfo => ({
    id: 'x',
    context_length,
    capabilities,
  });

  test.each([
    [
      'the smallest context of its deployments',
      [info(8_192, []), info(4_096, [])],
      { context_length: 4_096, capabilities: [] },
    ],
    [
      'a context that only one tells',
      [info(undefined, []), info(4_096, [])],
      { context_length: 4_096, capabilities: [] },
    ],
    ['no context where none tells one', [info(undefined, [])], { context_length: undefined, capabilities: [] }],
    [
      'the capabilities that all share',
      [info(undefined, ['vision', 'tools']), info(undefined, ['tools'])],
      { context_length: undefined, capabilities: ['tools'] },
    ],
    ['nothing while nothing is known', [], { context_length: undefined, capabilities: [] }],
  ] satisfies [string, ModelInfo[], object][])('%s', (_name, infos, told) => {
    const deployments = infos.map((one, at): Candidate => {
      const backend = new Backend(`b${at}`, config('http://127.0.0.1:1'), 2_000);
      backend.models = new Map([['x', one]]);
      return { backend, name: 'x', model: 'm' };
    });
    expect(described({ id: 'm', candidates: deployments, fallback: [], metadata: {} })).toEqual(told);
  });
});
