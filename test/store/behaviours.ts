// What every kind of limits does alike, as one table: run in this process on a clock of the test's, and over a real Redis on
// Redis' own. Rates are slow (per minute) where a case must not depend on how fast the machine is.
import { expect } from 'vitest';
import type { Demand, Limits, Verdict } from '../../src/store/limits.ts';
import type { Limit } from '../../src/types.ts';

interface Stage {
  readonly limits: Limits;
  /** A name no other case uses. */
  readonly name: string;
  readonly wait: (ms: number) => Promise<void>;
}

export interface Behaviour {
  readonly name: string;
  readonly run: (stage: Stage) => Promise<void>;
}

export const limit = (count: number | undefined, burst: number, parallel?: number, per_ms = 60_000): Limit => ({
  requests: count === undefined ? undefined : { count, per_ms },
  burst,
  parallel,
});

export const demand = (bucket: string, ip: Limit | undefined, name = bucket, key?: Limit): Demand => ({
  ip: ip && { bucket, limit: ip },
  key: key && { name, limit: key },
});

export const passed = (verdicts: readonly Verdict[]): number => verdicts.filter(({ admitted }) => admitted).length;

/** Asked at once, without waiting for each other; the gateways in turn. */
export function takeTogether(limits: readonly Limits[], asked: Demand, times: number): Promise<Verdict[]> {
  return Promise.all(Array.from({ length: times }, async (_, n) => (limits[n % limits.length] as Limits).take(asked)));
}

async function takeAll(limits: Limits, asked: Demand, times: number): Promise<Verdict[]> {
  const verdicts: Verdict[] = [];
  for (let n = 0; n < times; n += 1) verdicts.push(await limits.take(asked));
  return verdicts;
}

export const BEHAVIOURS: readonly Behaviour[] = [
  {
    name: 'passes burst + 1 at once and refuses the rest, telling who refused and for how long',
    async run({ limits, name }) {
      const verdicts = await takeAll(limits, demand(name, limit(1, 20)), 25);
      expect(verdicts.map(({ admitted }) => admitted)).toEqual([
        ...Array<boolean>(21).fill(true),
        ...Array<boolean>(4).fill(false),
      ]);
      expect(verdicts[21]?.refused_by).toMatchObject({ scope: 'ip', what: 'rate' });
      expect(verdicts[21]?.refused_by?.retry_ms).toBeGreaterThan(50_000);
      expect(verdicts[21]?.refused_by?.retry_ms).toBeLessThanOrEqual(60_000);
    },
  },
  {
    name: 'passes again after the told wait, however many were refused meanwhile',
    async run({ limits, name, wait }) {
      const asked = demand(name, limit(4, 1, undefined, 1000));
      const verdicts = await takeAll(limits, asked, 10);
      expect(passed(verdicts)).toBeGreaterThanOrEqual(2);
      const refusal = (await takeAll(limits, asked, 3)).find(({ admitted }) => !admitted)?.refused_by;
      await wait(refusal?.retry_ms ?? 0);
      expect(await limits.take(asked)).toMatchObject({ admitted: true });
    },
  },
  {
    name: 'tells those refused together times one after another, at each of which one passes',
    async run({ limits, name, wait }) {
      const asked = demand(name, limit(10, 2, undefined, 1000));
      const verdicts = await takeAll(limits, asked, 9);
      const told = verdicts.flatMap(({ refused_by }) => (refused_by === undefined ? [] : [refused_by.retry_ms]));
      expect(told.length).toBeGreaterThanOrEqual(4);
      let waited = 0;
      for (const ms of told) {
        await wait(ms - waited);
        waited = Math.max(waited, ms);
        expect(await limits.take(asked)).toMatchObject({ admitted: true });
      }
    },
  },
  {
    name: 'forgets what it told once nobody is ahead of the rate any more',
    async run({ limits, name, wait }) {
      const asked = demand(name, limit(20, 0, undefined, 1000));
      await takeAll(limits, asked, 40);
      await wait(60);
      const [first, next] = await takeAll(limits, asked, 2);
      expect(first).toMatchObject({ admitted: true });
      if (next?.admitted === false) expect(next.refused_by?.retry_ms).toBeLessThanOrEqual(50);
    },
  },
  {
    name: 'counts what remains, of the tighter of the two rates',
    async run({ limits, name }) {
      const asked = demand(name, limit(1, 20), name, limit(1, 2));
      const verdicts = await takeAll(limits, asked, 4);
      expect(verdicts.map(({ rate }) => [rate?.limit, rate?.remaining])).toEqual([
        [3, 2],
        [3, 1],
        [3, 0],
        [3, 0],
      ]);
      expect(verdicts[0]?.rate?.reset_ms).toBeGreaterThan(59_000);
      expect(verdicts[3]?.rate?.reset_ms).toBeGreaterThan(150_000);
    },
  },
  {
    name: 'consumes nothing of the address when the key refuses, nor the other way round',
    async run({ limits, name }) {
      const strict = demand(name, limit(1, 5), name, limit(1, 0));
      expect(passed(await takeAll(limits, strict, 10))).toBe(1);
      expect(await limits.take(demand(name, limit(1, 5)))).toMatchObject({ rate: { limit: 6, remaining: 4 } });
      const other = demand(`${name}2`, limit(1, 0), `${name}2`, limit(1, 5));
      expect(passed(await takeAll(limits, other, 10))).toBe(1);
      expect(await limits.take(demand(name, undefined, `${name}2`, limit(1, 5)))).toMatchObject({
        rate: { remaining: 4 },
      });
    },
  },
  {
    name: 'holds at most as many places as allowed, and each is given back once',
    async run({ limits, name }) {
      const asked = demand(name, limit(undefined, 0, 3));
      const [first, ...others] = await takeAll(limits, asked, 5);
      expect(passed([first as Verdict, ...others])).toBe(3);
      expect(others[3]?.refused_by).toEqual({ scope: 'ip', what: 'parallel', retry_ms: 1000 });
      expect(others[3]?.rate).toBeUndefined();
      first?.release();
      first?.release();
      others[3]?.release();
      expect(passed(await takeAll(limits, asked, 3))).toBe(1);
    },
  },
  {
    name: 'consumes no rate when there is no place, and takes no place when the rate refuses',
    async run({ limits, name }) {
      const full = demand(name, limit(1, 5, 1));
      const [holder] = await takeAll(limits, full, 10);
      expect(holder?.rate?.remaining).toBe(5);
      holder?.release();
      expect(await limits.take(full)).toMatchObject({ admitted: true, rate: { remaining: 4 } });
      const empty = demand(`${name}2`, limit(1, 0, 5));
      const [only] = await takeAll(limits, empty, 10);
      only?.release();
      expect(passed(await takeAll(limits, demand(`${name}2`, limit(undefined, 0, 5)), 10))).toBe(5);
    },
  },
  {
    name: 'takes no place of the address when the key has none left',
    async run({ limits, name }) {
      expect(
        passed(await takeAll(limits, demand(name, limit(undefined, 0, 4), name, limit(undefined, 0, 1)), 10)),
      ).toBe(1);
      expect(passed(await takeAll(limits, demand(name, limit(undefined, 0, 4)), 10))).toBe(3);
    },
  },
  {
    name: 'tells the longest of several waits',
    async run({ limits, name }) {
      const asked = demand(name, limit(1, 0, 1, 3_600_000), name, limit(1, 0));
      await limits.take(asked);
      expect((await limits.take(asked)).refused_by).toMatchObject({ scope: 'ip', what: 'rate' });
    },
  },
  {
    name: 'keeps an address and a key of the same name apart, and addresses from each other',
    async run({ limits, name }) {
      expect((await limits.take(demand(name, limit(1, 0)))).admitted).toBe(true);
      expect((await limits.take(demand(name, undefined, name, limit(1, 0)))).admitted).toBe(true);
      expect((await limits.take(demand(`${name}2`, limit(1, 0)))).admitted).toBe(true);
      expect((await limits.take(demand(name, limit(1, 0)))).admitted).toBe(false);
    },
  },
  {
    name: 'shares a key between addresses',
    async run({ limits, name }) {
      const from = (address: string): Demand =>
        demand(`${name}${address}`, limit(1, 9, 9), name, limit(undefined, 0, 2));
      expect(passed([await limits.take(from('a')), await limits.take(from('b')), await limits.take(from('c'))])).toBe(
        2,
      );
    },
  },
  {
    name: 'passes everything where nothing is limited',
    async run({ limits }) {
      const verdicts = await takeAll(limits, { ip: undefined, key: undefined }, 50);
      expect(passed(verdicts)).toBe(50);
      expect(verdicts[0]?.rate).toBeUndefined();
      for (const verdict of verdicts) verdict.release();
    },
  },
  {
    name: 'follows a limit that a reload changed',
    async run({ limits, name, wait }) {
      const of = (key: Limit): Demand => demand(name, undefined, name, key);
      expect(passed(await takeAll(limits, of(limit(1, 4, 9)), 10))).toBe(5);
      // More burst: what was used stays used. Less: nothing passes. A faster rate: one step at most is waited for.
      expect(passed(await takeAll(limits, of(limit(1, 7, 9)), 10))).toBe(3);
      expect(passed(await takeAll(limits, of(limit(1, 2, 9)), 10))).toBe(0);
      const faster = await limits.take(of(limit(1, 2, 9, 1000)));
      expect(faster.refused_by?.retry_ms).toBeLessThanOrEqual(1000);
      await wait(faster.refused_by?.retry_ms ?? 0);
      expect(await limits.take(of(limit(1, 2, 9, 1000)))).toMatchObject({ admitted: true });
      expect((await limits.take(of(limit(undefined, 0, 8)))).refused_by?.what).toBe('parallel');
    },
  },
];
