import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { localLimits, type Verdict } from '../../src/store/limits.ts';
import { needsOf } from '../../src/store/rule.ts';
import { shareOf } from '../../src/store/share.ts';
import { BEHAVIOURS, demand, limit } from './behaviours.ts';

describe('limits in process', () => {
  test.each(BEHAVIOURS)('$name', async ({ run }) => {
    let now = 12_345.678;
    const limits = localLimits(() => now);
    await run({
      limits,
      name: 'a',
      wait: (ms) => {
        now += ms;
        return Promise.resolve();
      },
    });
  });

  test('a decision is no promise, and says who made it', () => {
    expect(localLimits().take(demand('a', limit(1, 1, 1)))).toMatchObject({ admitted: true, source: 'local' });
  });

  test('10/s burst 20 passes 120 in ten seconds of pressure', () => {
    let now = 0;
    const limits = localLimits(() => now);
    let passed = 0;
    for (; now < 10_000; now += 1)
      passed += (limits.take(demand('a', limit(10, 20, undefined, 1000))) as Verdict).admitted ? 1 : 0;
    expect(passed).toBe(120);
  });

  test('three hundred thousand addresses leave no more memory than those in use', () => {
    let now = 0;
    const limits = localLimits(() => now);
    const holder = limits.take(demand('holder', limit(10, 20, 100, 1000))) as Verdict;
    let most = 0;
    for (let n = 0; n < 300_000; n += 1) {
      now += 0.1;
      const verdict = limits.take(demand(`10.${n}`, limit(10, 20, 100, 1000))) as Verdict;
      verdict.release();
      most = Math.max(most, limits.state().buckets);
    }
    // 10,000 new addresses a second, each remembered for 100 ms: 1000 in use.
    expect(most).toBeLessThan(3000);
    expect(limits.state().places).toBe(1);
    holder.release();
    expect(limits.state().places).toBe(0);
  });

  test('no mix of takes and releases leaks a place', () => {
    const step = fc.oneof(
      fc.record({ take: fc.constant(true), ip: fc.nat(2), key: fc.nat(2), release: fc.constant(0) }),
      fc.record({ take: fc.constant(false), ip: fc.constant(0), key: fc.constant(0), release: fc.nat(20) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const limits = localLimits(() => 0);
        const held = new Map<Verdict, readonly [number, number]>();
        for (const { take, ip, key, release } of steps) {
          const holders = [...held];
          if (!take) {
            const chosen = holders[release % Math.max(1, holders.length)]?.[0];
            chosen?.release();
            if (chosen) held.delete(chosen);
            continue;
          }
          const free =
            holders.filter(([, of]) => of[0] === ip).length < 3 && holders.filter(([, of]) => of[1] === key).length < 2;
          const verdict = limits.take(
            demand(`${ip}`, limit(undefined, 0, 3), `${key}`, limit(undefined, 0, 2)),
          ) as Verdict;
          expect(verdict.admitted).toBe(free);
          if (verdict.admitted) held.set(verdict, [ip, key]);
          expect(limits.state().places).toBe(held.size);
        }
        for (const verdict of held.keys()) verdict.release();
        expect(limits.state()).toMatchObject({ places: 0, buckets: 0 });
      }),
    );
  });
});

describe('refused together', () => {
  const traces = fc.record({
    count: fc.integer({ min: 1, max: 40 }),
    burst: fc.nat(30),
    at_once: fc.integer({ min: 1, max: 150 }),
  });

  test('whoever waits as long as told passes the first time, however many were refused before', () => {
    fc.assert(
      fc.property(traces, ({ count, burst, at_once }) => {
        let now_ms = 0;
        const limits = localLimits(() => now_ms);
        const asked = demand('a', limit(count, burst, undefined, 1000));
        const told = Array.from({ length: at_once }, () => (limits.take(asked) as Verdict).refused_by?.retry_ms ?? 0);
        expect(told.slice(burst + 1).every((ms) => ms > 0)).toBe(true);
        for (const ms of told.slice(burst + 1)) {
          now_ms = ms;
          // Nobody is sent further back than ten seconds: there several are told the same.
          expect((limits.take(asked) as Verdict).admitted || ms === 10_000).toBe(true);
        }
      }),
    );
  });
});

test.for([
  [limit(1, 0), 59_000, 1_000],
  [limit(6, 5), 9_900, 100],
  [limit(10, 20, undefined, 1000), 30, 70],
] as const)('the first to be refused is told its own wait: %o after %i ms', ([rate, after_ms, wait_ms]) => {
  let now_ms = 0;
  const limits = localLimits(() => now_ms);
  const asked = demand('a', rate);
  for (let n = 0; n <= rate.burst; n += 1) expect(limits.take(asked)).toMatchObject({ admitted: true });
  now_ms = after_ms;
  expect(limits.take(asked)).toMatchObject({ refused_by: { retry_ms: wait_ms } });
});

test('a client that never waits sends nobody else further back than ten seconds', () => {
  const limits = localLimits(() => 0);
  const asked = demand('a', limit(10, 0, undefined, 1000));
  const told = Array.from({ length: 500 }, () => (limits.take(asked) as Verdict).refused_by?.retry_ms ?? 0);
  expect(Math.max(...told)).toBe(10_000);
});

describe('a gateway’s share', () => {
  const cases = [
    { gateways: 1, burst: 20, parallel: 100, at_once: 21, places: 100 },
    { gateways: 2, burst: 20, parallel: 100, at_once: 10, places: 50 },
    { gateways: 3, burst: 20, parallel: 100, at_once: 7, places: 33 },
    { gateways: 4, burst: 0, parallel: 2, at_once: 1, places: 1 },
    { gateways: 4, burst: 0, parallel: 0, at_once: 1, places: 0 },
  ];
  test.each(cases)('of burst $burst, parallel $parallel among $gateways is $at_once at once, $places places', (row) => {
    const [need] = needsOf(demand('a', limit(10, row.burst, row.parallel, 1000)));
    if (need === undefined) throw new Error('no need');
    const share = shareOf(need, row.gateways);
    expect(share.pace?.step_us).toBe(100_000 * row.gateways);
    expect((share.pace?.slack_us ?? 0) / (share.pace?.step_us ?? 1) + 1).toBe(row.at_once);
    expect(share.parallel).toBe(row.places);
  });

  test('the shares add up to the limit or less, wherever each gateway can have one', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 20 }), fc.nat(100), fc.nat(200), (gateways, burst, parallel) => {
        const [need] = needsOf(demand('a', limit(10, burst, parallel, 1000)));
        const share = shareOf(need as NonNullable<typeof need>, gateways);
        const at_once = (share.pace?.slack_us ?? 0) / (share.pace?.step_us ?? 1) + 1;
        expect(Number.isInteger(at_once)).toBe(true);
        expect(at_once * gateways).toBeLessThanOrEqual(Math.max(burst + 1, gateways));
        expect((share.parallel ?? 0) * gateways).toBeLessThanOrEqual(Math.max(parallel, parallel === 0 ? 0 : gateways));
      }),
    );
  });
});
