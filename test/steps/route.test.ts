// Who could answer: tables over a fleet made of plain values, and properties over any fleet at all.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Backend, type Candidate, type Health } from '../../src/fleet/backend.ts';
import type { PublicModel } from '../../src/fleet/fleet.ts';
import { route } from '../../src/steps/route.ts';
import { GatewayError } from '../../src/wire/errors.ts';
import { scanObject } from '../../src/wire/body.ts';
import type { Call, Caller } from '../../src/types.ts';
import { seeded } from '../stage/random.ts';

interface Given {
  readonly slots?: number;
  readonly in_flight?: number;
  readonly health?: Health;
  readonly reason?: string;
}

function backend(name: string, { slots = 4, in_flight = 0, health = 'up', reason = '' }: Given = {}): Backend {
  const config = { engine: 'openai', url: 'http://127.0.0.1:1', key: undefined, slots, publish: [] } as const;
  return Object.assign(new Backend(name, config, 2_000), { in_flight, health, reason });
}

/** Models by name, each a list of backends, and what it falls back to. */
function models(given: Record<string, { on?: Backend[]; fallback?: string[] }>): ReadonlyMap<string, PublicModel> {
  return new Map(
    Object.entries(given).map(([id, { on = [], fallback = [] }]) => {
      const candidates = on.map((backend) => ({ backend, name: `${id}-there`, model: id }));
      return [id, { id, candidates, fallback, metadata: {} }];
    }),
  );
}

function caller(globs?: readonly string[]): Caller {
  const nobody = { key: 'alice', admin: false, address: '10.0.0.1', bucket: '10.0.0.1', limits: undefined };
  return { ...nobody, models: globs, default_model: undefined };
}

function call(model: string): Call {
  const body = Buffer.from(JSON.stringify({ model }));
  const fields = scanObject(body);
  const prompt_bytes = (): number => 0;
  return { endpoint: 'chat/completions', model, streamed: false, wants_usage: false, body, fields, prompt_bytes };
}

const names = (candidates: readonly Candidate[]): string => candidates.map(({ backend }) => backend.name).join(' ');

function ask(fleet: ReadonlyMap<string, PublicModel>, model = 'm', globs?: readonly string[]): readonly Candidate[] {
  return route(caller(globs), call(model), fleet, () => 0.5);
}

/** The refusal, as a caller and the log see it. */
function refusal(fleet: ReadonlyMap<string, PublicModel>, model = 'm', globs?: readonly string[]): GatewayError {
  try {
    ask(fleet, model, globs);
  } catch (error) {
    if (error instanceof GatewayError) return error;
    throw error;
  }
  throw new Error('it was not refused');
}

describe('the order of candidates', () => {
  test.each([
    ['the least loaded comes first', { a: { in_flight: 2 }, b: { in_flight: 1 }, c: {} }, 'c b a'],
    ['load is a share of the slots', { a: { in_flight: 3, slots: 12 }, b: { in_flight: 1, slots: 2 } }, 'a b'],
    ['what is full comes last', { a: { in_flight: 4 }, b: { in_flight: 3 } }, 'b a'],
    ['what is down is left out', { a: { health: 'down' }, b: { in_flight: 3 } }, 'b'],
    ['what was not yet probed may be tried', { a: { in_flight: 1 }, b: { health: 'unknown' } }, 'b a'],
    ['all full: the least loaded is waited for first', { a: { in_flight: 6 }, b: { in_flight: 5 } }, 'b a'],
  ] satisfies [string, Record<string, Given>, string][])('%s', (_name, given, order) => {
    const on = Object.entries(given).map(([name, one]) => backend(name, one));
    expect(names(ask(models({ m: { on } })))).toBe(order);
  });

  test('a deployment keeps the name of the model there and of the model it is asked for as', () => {
    const fleet = models({ m: { on: [backend('a', { in_flight: 4 })], fallback: ['n'] }, n: { on: [backend('b')] } });
    expect(ask(fleet).map(({ name, model }) => [name, model])).toEqual([
      ['n-there', 'n'],
      ['m-there', 'm'],
    ]);
  });
});

describe('ties', () => {
  test('go to each of the least loaded alike', () => {
    const fleet = models({ m: { on: ['a', 'b', 'c'].map((name) => backend(name)) } });
    const random = seeded(7);
    const first = new Map<string, number>();
    for (let at = 0; at < 3_000; at += 1) {
      const name = route(caller(), call('m'), fleet, random)[0]?.backend.name ?? '';
      first.set(name, (first.get(name) ?? 0) + 1);
    }
    expect([...first.keys()].toSorted()).toEqual(['a', 'b', 'c']);
    for (const count of first.values()) expect(Math.abs(count - 1_000)).toBeLessThan(100);
  });
});

describe('fallbacks', () => {
  const free = (name: string): Backend[] => [backend(name)];
  const full = (name: string): Backend[] => [backend(name, { in_flight: 4 })];
  const down = (name: string): Backend[] => [backend(name, { health: 'down' })];

  test.each([
    ['come after the model itself', { m: { on: free('a'), fallback: ['n'] }, n: { on: free('b') } }, 'a b'],
    ['stand in for a model that is down', { m: { on: down('a'), fallback: ['n'] }, n: { on: free('b') } }, 'b'],
    [
      'that are free come before the model where it is full',
      { m: { on: full('a'), fallback: ['n'] }, n: { on: free('b') } },
      'b a',
    ],
    [
      'that are full are waited for after the model',
      { m: { on: full('a'), fallback: ['n'] }, n: { on: full('b') } },
      'a b',
    ],
    [
      'have fallbacks of their own',
      { m: { on: down('a'), fallback: ['n'] }, n: { on: down('b'), fallback: ['o'] }, o: { on: free('c') } },
      'c',
    ],
    [
      'are tried in the order written, not by load',
      { m: { on: down('a'), fallback: ['n', 'o'] }, n: { on: [backend('b', { in_flight: 3 })] }, o: { on: free('c') } },
      'b c',
    ],
    [
      'that lead in a circle are each taken once',
      { m: { on: free('a'), fallback: ['n'] }, n: { on: free('b'), fallback: ['m', 'n'] } },
      'a b',
    ],
    [
      'that nobody serves are passed over',
      { m: { on: down('a'), fallback: ['gone', 'n'] }, n: { on: free('b') } },
      'b',
    ],
  ] satisfies [string, Parameters<typeof models>[0], string][])('%s', (_name, given, order) => {
    expect(names(ask(models(given)))).toBe(order);
  });

  test('that this key may not use do not answer for the model that it may', () => {
    const fleet = models({ m: { on: down('a'), fallback: ['n', 'o'] }, n: { on: free('b') }, o: { on: free('c') } });
    expect(names(ask(fleet, 'm', ['m', 'o']))).toBe('c');
  });
});

describe('a key may use', () => {
  const fleet = models({ 'qwen/coder:7b': { on: [backend('a')] }, m: { on: [backend('b')] } });

  test.each([
    ['every model when none is named', undefined, 'm', true],
    ['a model named whole', ['m'], 'm', true],
    ['a model whose name a glob matches', ['x-*', 'qwen/*'], 'qwen/coder:7b', true],
    ['no model that no glob matches', ['qwen/*'], 'm', false],
    ['nothing where the list is empty', [], 'm', false],
  ] satisfies [string, string[] | undefined, string, boolean][])('%s', (_name, globs, model, may) => {
    if (may) expect(ask(fleet, model, globs)).toHaveLength(1);
    else expect(refusal(fleet, model, globs).code).toBe('model_not_found');
  });

  test('a model it may not use is refused word for word like one that does not exist', () => {
    const forbidden = refusal(fleet, 'm', ['qwen/*']);
    const unknown = refusal(models({}), 'm', ['qwen/*']);
    expect([forbidden.status, forbidden.message, forbidden.details]).toEqual([404, unknown.message, unknown.details]);
    expect(forbidden.details.param).toBe('model');
  });
});

describe('nobody can answer', () => {
  const loading = backend('a', { health: 'down', reason: 'loading' });
  const dead = backend('b', { health: 'down', reason: 'connect' });

  test.each([
    ['an unknown model', {}, 'model_not_found', 404],
    ['a model whose backends are all down', { m: { on: [dead] } }, 'backend_unavailable', 503],
    ['a model with no deployment left', { m: { on: [] } }, 'backend_unavailable', 503],
    ['a model that is being loaded', { m: { on: [dead, loading] } }, 'model_loading', 503],
    [
      'a model whose fallback is being loaded',
      { m: { on: [dead], fallback: ['n'] }, n: { on: [loading] } },
      'model_loading',
      503,
    ],
  ] satisfies [string, Parameters<typeof models>[0], string, number][])('%s', (_name, given, code, status) => {
    const refused = refusal(models(given));
    expect([refused.code, refused.status]).toEqual([code, status]);
    if (status === 503) expect(refused.details.retry_ms).toBeGreaterThan(0);
  });

  test('a name comes back bounded and on one line', () => {
    const { message } = refusal(models({}), `evil"\r\n${'x'.repeat(10_000)}`);
    expect(message.length).toBeLessThan(400);
    expect(message).not.toMatch(/[\r\n]|evil"/);
  });
});

const health = fc.constantFrom<Health>('up', 'unknown', 'half-open', 'down');
const one = fc.record({ slots: fc.integer({ min: 1, max: 8 }), in_flight: fc.integer({ min: 0, max: 10 }), health });
const fleets = fc
  .array(fc.record({ on: fc.array(one, { maxLength: 4 }), fallback: fc.array(fc.nat({ max: 5 }), { maxLength: 3 }) }), {
    minLength: 1,
    maxLength: 5,
  })
  .map((given) =>
    models(
      Object.fromEntries(
        given.map(({ on, fallback }, at) => [
          `m${at}`,
          { on: on.map((each, index) => backend(`m${at}b${index}`, each)), fallback: fallback.map((to) => `m${to}`) },
        ]),
      ),
    ),
  );

describe('in any fleet', () => {
  const routed = (fleet: ReadonlyMap<string, PublicModel>, seed: number): readonly Candidate[] => {
    try {
      return route(caller(), call('m0'), fleet, seeded(seed));
    } catch (error) {
      expect(error).toBeInstanceOf(GatewayError);
      return [];
    }
  };

  test.each([
    ['a backend that is down is never a candidate', (list) => list.every(({ backend }) => backend.health !== 'down')],
    ['no deployment is a candidate twice', (list) => new Set(list).size === list.length],
    [
      'what is free comes before what is full',
      (list) => list.every(({ backend }, at) => backend.free || !list.slice(at).some((later) => later.backend.free)),
    ],
    [
      'of one model, the less loaded comes first',
      (list) =>
        list.every(({ backend, model }, at) =>
          list.slice(at).every((later) => {
            const alike = later.model === model && later.backend.free === backend.free;
            return !alike || later.backend.load >= backend.load;
          }),
        ),
    ],
  ] satisfies [string, (list: readonly Candidate[]) => boolean][])('%s', (_name, holds) => {
    fc.assert(fc.property(fleets, fc.nat(), (fleet, seed) => holds(routed(fleet, seed))));
  });

  test('whatever is up somewhere along the chain is a candidate', () => {
    fc.assert(
      fc.property(fleets, fc.nat(), (fleet, seed) => {
        const reached = new Set(['m0']);
        for (const id of reached) for (const next of fleet.get(id)?.fallback ?? []) reached.add(next);
        const all = [...reached].flatMap((id) => fleet.get(id)?.candidates ?? []);
        const up = all.filter(({ backend }) => backend.health !== 'down');
        return up.length === routed(fleet, seed).length;
      }),
    );
  });
});
