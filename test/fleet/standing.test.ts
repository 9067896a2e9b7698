// The order among several candidates, and whether a call fits one: tables over plain values.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Backend, type Candidate } from '../../src/fleet/backend.ts';
import { contextOf, fit, standingOf, warmThenLeastLoaded, type Standing } from '../../src/fleet/standing.ts';
import type { Deployment } from '../../src/types.ts';
import { callOf } from '../stage/call.ts';
import { seeded } from '../stage/random.ts';

const one = (given: Partial<Standing> = {}): Standing => ({
  free: true,
  load: 0,
  resident: undefined,
  fits: true,
  ...given,
});
const order = (standings: readonly Standing[], random = () => 0.5): string =>
  warmThenLeastLoaded(standings, random).join(' ');

describe('the best is asked first', () => {
  const cold = { resident: false };
  const full = { free: false, load: 1 };
  const unsure = { fits: false };

  test.each<[string, Partial<Standing>[], string]>([
    ['none of none', [], ''],
    ['the only one', [{ ...full, ...cold, ...unsure }], '0'],
    ['the less loaded', [{ load: 0.5 }, { load: 0.25 }, {}], '2 1 0'],
    ['a free one before a full one', [full, { load: 0.9 }], '1 0'],
    ['a warm one before a cold one, though it has more to do', [cold, { resident: true, load: 0.9 }], '1 0'],
    ['one that serves only what it has is warm', [cold, { load: 0.9 }, { resident: true, load: 0.8 }], '2 1 0'],
    ['a free cold one before a full warm one', [{ ...full, resident: true }, cold], '1 0'],
    [
      'of the full ones the warm one',
      [
        { ...full, ...cold },
        { ...full, resident: true },
      ],
      '1 0',
    ],
    [
      'of the full ones the less loaded',
      [
        { ...full, load: 3 },
        { ...full, load: 2 },
      ],
      '1 0',
    ],
    ['where it surely fits, though full and cold', [unsure, { ...full, ...cold }], '1 0'],
    ['of those where it may not fit, as always', [{ ...unsure, ...full }, { ...unsure, ...cold }, unsure], '2 1 0'],
  ])('%s', (_name, given, places) => {
    expect(order(given.map(one))).toBe(places);
  });

  test('a tie goes by lot', () => {
    const lots = [0.7, 0.1, 0.4];
    expect(order([one(), one(), one()], () => lots.shift() ?? 0)).toBe('1 2 0');
  });

  test('a tie goes to each alike', () => {
    const random = seeded(11);
    const first = [0, 0, 0];
    for (let n = 0; n < 3_000; n += 1) first[Number(order([one(), one(), one({ load: 0 })], random)[0])]! += 1;
    for (const count of first) expect(Math.abs(count - 1_000)).toBeLessThan(100);
  });

  test('each has one place, whatever they are, and a better one is never later', () => {
    const standing = fc.record({
      free: fc.boolean(),
      load: fc.double({ min: 0, max: 4, noNaN: true }),
      resident: fc.constantFrom(true, false, undefined),
      fits: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(standing, { maxLength: 8 }), fc.nat(), (standings, seed) => {
        const places = warmThenLeastLoaded(standings, seeded(seed));
        expect(places.toSorted((a, b) => a - b)).toEqual(standings.map((_, at) => at));
        const rank = ({ fits, free, resident }: Standing): number =>
          Number(!fits) * 4 + Number(!free) * 2 + Number(resident === false);
        const sorted = places.map((at) => standings[at]!);
        for (const [at, next] of sorted.slice(1).entries()) {
          const before = sorted[at]!;
          expect(rank(before)).toBeLessThanOrEqual(rank(next));
          if (rank(before) === rank(next)) expect(before.load).toBeLessThanOrEqual(next.load);
        }
      }),
    );
  });
});

/** A model with a context of its own, at a backend that may have been seen to count. */
function candidate(
  context: number | undefined,
  more: { deployment?: Partial<Deployment>; taught?: number } = {},
): Candidate {
  const config = { engine: 'openai', url: 'http://127.0.0.1:1', key: undefined, slots: 2, publish: [] } as const;
  const backend = new Backend('a', config, 2_000);
  backend.models = new Map([['there', { id: 'there', context_length: context, capabilities: [] }]]);
  // 4 bytes a token.
  for (let n = 0; n < (more.taught ?? 0); n += 1) backend.measure.learn('there', 8_000, 2_000);
  const { deployment } = more;
  return {
    backend,
    name: 'there',
    model: 'm',
    ...(deployment !== undefined && { deployment: { backend: 'a', name: 'there', ...deployment } }),
  };
}

describe('how a candidate stands', () => {
  test('is told by its backend now', () => {
    const { backend, ...rest } = candidate(4_096);
    Object.assign(backend, { health: 'up', in_flight: 1, others: 3 });
    expect(standingOf({ backend, ...rest }, true)).toEqual({ free: true, load: 2, resident: undefined, fits: true });
    backend.in_flight = 2;
    backend.loads.seen('there');
    expect(standingOf({ backend, ...rest }, false)).toEqual({ free: false, load: 2.5, resident: true, fits: false });
  });
});

describe('the context of a deployment is', () => {
  test.each<[string, number | undefined, Partial<Deployment> | undefined, number | undefined]>([
    ['what the backend tells', 4_096, undefined, 4_096],
    ['what the operator loads it with', 4_096, { num_ctx: 8_192 }, 8_192],
    ['what the operator says of it', 4_096, { num_ctx: 8_192, context_length: 2_048 }, 2_048],
    ['not known where nobody tells', undefined, {}, undefined],
  ])('%s', (_name, told, deployment, context) => {
    expect(contextOf(candidate(told, deployment === undefined ? {} : { deployment }))).toBe(context);
  });
});

describe('a call', () => {
  /** With this many bytes of text, and others beside it. */
  const call = (text_bytes: number, beside = 0) =>
    callOf('completions', { prompt: 'x'.repeat(text_bytes - 2), user: 'y'.repeat(beside) });

  test.each<[string, 'fits' | 'unsure' | 'never', number, Candidate]>([
    ['fits what nobody knows the context of', 'fits', 1_000_000, candidate(undefined)],
    ['fits where it has no more bytes than the context tokens', 'fits', 4_096, candidate(4_096)],
    ['fits where the most it may be does', 'fits', 6_144, candidate(4_096)],
    ['may fit where the most it may be does not', 'unsure', 6_145, candidate(4_096)],
    ['may fit where the least it may be just does', 'unsure', 4_096 * 16, candidate(4_096)],
    ['never fits where the least it may be does not', 'never', 4_097 * 16, candidate(4_096)],
    ['fits by what the model was seen to take', 'fits', 8_192, candidate(4_096, { taught: 4 })],
    ['may fit by what the model was seen to take', 'unsure', 8_194, candidate(4_096, { taught: 4 })],
    ['never fits by what the model was seen to take', 'never', 4_097 * 8, candidate(4_096, { taught: 4 })],
    [
      'fits a context that the operator has enlarged',
      'fits',
      30_000,
      candidate(4_096, { deployment: { num_ctx: 32_768 } }),
    ],
    [
      'never fits one that is smaller than told',
      'never',
      30_000,
      candidate(131_072, { deployment: { context_length: 1_000 } }),
    ],
  ])('%s', (_name, fits, bytes, one) => {
    expect(fit(one, call(bytes))).toBe(fits);
  });

  test('is judged by its text alone', () => {
    expect(fit(candidate(4_096), call(4_000, 1_000_000))).toBe('fits');
  });

  test('that is short is not looked into', () => {
    const short = { ...call(100), prompt_bytes: () => expect.unreachable() };
    expect(fit(candidate(4_096), short)).toBe('fits');
  });
});
