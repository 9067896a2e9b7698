// What the bench calls inexact must be so: an exact limiter is never accused, however late it decides within the bounds, and
// one that lets one too many in, or too few, is found out where the bounds are narrow.
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { exactly, tooFew, tooMany, type Decision } from '../../bench/exact.ts';
import { debtAt, paceOf, paid, waitFor, type Pace } from '../../src/store/gcra.ts';

const pace = paceOf({ count: 10, per_ms: 1000 }, 20);

/** Decided in the order of `at_us`, which lies between what is seen of it. */
function decide(pace: Pace, asked: readonly { sent_us: number; at_us: number; told_us: number }[]): Decision[] {
  let tat_us = 0;
  return asked
    .toSorted((a, b) => a.at_us - b.at_us)
    .map(({ sent_us, at_us, told_us }) => {
      const debt_us = debtAt(tat_us, at_us, pace);
      const admitted = waitFor(debt_us, pace) === 0;
      if (admitted) tat_us = paid(debt_us, at_us, pace);
      return { sent_us, told_us, admitted };
    });
}

const gap = fc.oneof(fc.nat(500), fc.nat(20_000), fc.nat(300_000));
const trace = fc
  .array(fc.record({ gap, on_way: fc.nat(30_000), back: fc.nat(30_000) }), { minLength: 30, maxLength: 150 })
  .map((steps) => {
    let now = 1_000_000;
    return steps.map(({ gap, on_way, back }) => {
      now += gap;
      return { sent_us: now, at_us: now + on_way, told_us: now + on_way + back };
    });
  });

describe('an exact limiter', () => {
  test('is never accused, whenever within the bounds it decides', () => {
    fc.assert(
      fc.property(trace, (asked) => {
        const decisions = decide(pace, asked);
        expect([tooMany(pace, decisions), tooFew(pace, decisions)]).toEqual([0, 0]);
      }),
      { numRuns: 300 },
    );
  });

  test('that decides at once lets in what the arithmetic does', () => {
    fc.assert(
      fc.property(trace, (asked) => {
        const at_once = asked.map((one) => ({ ...one, at_us: one.sent_us }));
        const passed = decide(pace, at_once).filter(({ admitted }) => admitted).length;
        const times = asked.map(({ sent_us }) => sent_us);
        expect(exactly(pace, times)).toBe(passed);
      }),
    );
  });
});

describe('a limiter that is not exact is found out', () => {
  /** Under pressure, seen within 2 ms: 40 at once and then 100 a second. */
  const pressed = Array.from({ length: 300 }, (_, n) => {
    const sent_us = 1_000_000 + Math.max(0, n - 40) * 10_000;
    return { sent_us, at_us: sent_us + 1_000, told_us: sent_us + 2_000 };
  });
  const decisions = decide(pace, pressed);
  const admitted = decisions.flatMap((one, at) => (one.admitted ? [at] : []));
  const refused = decisions.flatMap((one, at) => (one.admitted ? [] : [at]));
  const turned = (at: number | undefined): Decision[] =>
    decisions.map((one, n) => (n === at ? { ...one, admitted: !one.admitted } : one));

  test.each(refused.filter((_, n) => n % 20 === 0))('that lets in one too many, the request %i', (at) => {
    expect(tooMany(pace, turned(at))).toBe(1);
  });

  test.each(admitted.slice(0, -1).filter((_, n) => n % 5 === 0))('that refuses one too many, the request %i', (at) => {
    expect(tooFew(pace, turned(at))).toBeGreaterThanOrEqual(1);
  });

  test('that has one more of burst, or one less', () => {
    expect(tooMany(pace, decide(paceOf({ count: 10, per_ms: 1000 }, 21), pressed))).toBe(1);
    expect(tooFew(pace, decide(paceOf({ count: 10, per_ms: 1000 }, 19), pressed))).toBeGreaterThan(0);
  });

  test('that is 5 % too fast, or too slow', () => {
    expect(tooMany(pace, decide({ step_us: 95_000, slack_us: 1_900_000 }, pressed))).toBeGreaterThan(0);
    expect(tooFew(pace, decide({ step_us: 105_000, slack_us: 2_100_000 }, pressed))).toBeGreaterThan(0);
  });
});
