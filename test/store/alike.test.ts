// What Redis' script decides and what this process decides by itself are the same rules written twice. Here both see the same
// turns at the same times, which the script is given instead of Redis' clock, and must rule alike over any of them: what is asked
// together there is asked one by one here.
import fc from 'fast-check';
import { Redis } from 'ioredis';
import { beforeEach, expect, onTestFinished, test } from 'vitest';
import { makeBuckets } from '../../src/store/buckets.ts';
import { paceOf, type Pace } from '../../src/store/gcra.ts';
import { rule, type Need, type State } from '../../src/store/rule.ts';
import { TURN } from '../../src/store/take.lua.ts';
import { startRedis } from '../stage/redis.ts';

const CLOCK = /local time = redis\.call\('TIME'\)\nlocal now = .*\n/;
const EXPIRY = /, 'PX', string\.format\('%\.0f', math\.ceil\(debt \/ 1000\) \+ 1\)/;
const BEGIN_US = 1_790_000_000_000_000;
/** Longer than any trace. */
const LEASE_US = 1_000_000_000_000;

const pace = fc
  .record({
    count: fc.constantFrom(1, 3, 7, 10, 100),
    per_ms: fc.constantFrom(1_000, 60_000, 3_600_000),
    burst: fc.constantFrom(0, 1, 5, 20),
  })
  .map(({ count, per_ms, burst }) => paceOf({ count, per_ms }, burst));

type Who = readonly ('ip' | 'key')[];
const who = fc.constantFrom<Who>(['ip'], ['key'], ['ip', 'key'], ['key', 'ip']);
const places = fc.constantFrom(undefined, 0, 1, 3, 30);

const step = fc.record({
  after_us: fc.oneof(fc.constant(0), fc.nat(1_000), fc.nat(200_000), fc.nat(5_000_000), fc.nat(4_000_000_000)),
  takes: fc.array(who, { maxLength: 6 }),
  /** Which of the places held are given back. */
  back: fc.array(fc.nat(20), { maxLength: 3 }),
  /** Now and then a reload. */
  reload: fc.option(fc.record({ of: fc.constantFrom('ip', 'key'), pace, parallel: places }), { freq: 12 }),
});

interface Given {
  readonly lease: string;
  readonly needs: readonly Need[];
}

let redis: Redis;
let script: string;

beforeEach(async () => {
  expect(TURN).toMatch(CLOCK);
  expect(TURN).toMatch(EXPIRY);
  script = TURN.replace(CLOCK, 'local now = tonumber(ARGV[2])\n').replace(EXPIRY, '');
  const server = await startRedis();
  redis = new Redis(server.url);
  onTestFinished(async () => {
    redis.disconnect();
    await server.stop();
  });
});

async function turnInRedis(back: readonly Given[], takes: readonly Given[], now_us: number): Promise<State[][]> {
  const given = back.map((one) => ({ ...one, needs: one.needs.filter(({ parallel }) => parallel !== undefined) }));
  const keys = [
    ...given.flatMap(({ needs }) => needs.map(({ id }) => `places:${id}`)),
    ...takes.flatMap(({ needs }) => needs.flatMap(({ id }) => [`rate:${id}`, `places:${id}`])),
  ];
  const turn = {
    lease_us: LEASE_US,
    back: given.map(({ lease, needs }) => [lease, needs.length]),
    takes: takes.map(({ lease, needs }) => [
      lease,
      ...needs.flatMap((need) => [need.pace?.step_us ?? 0, need.pace?.slack_us ?? 0, need.parallel ?? -1]),
    ]),
  };
  const reply = await redis.eval(script, keys.length, ...keys, JSON.stringify(turn), now_us);
  return (JSON.parse(reply as string) as number[][]).map((told) =>
    Array.from({ length: told.length / 3 }, (_, at) => {
      const [debt_us = 0, promised_us = 0, held = 0] = told.slice(3 * at);
      return { debt_us, promised_us, held };
    }),
  );
}

test('any trace of turns, with reloads between them, is ruled as one by one in this process', async () => {
  const limit = fc.record({ pace, parallel: places });
  const traces = fc.record({ ip: limit, key: limit, steps: fc.array(step, { minLength: 20, maxLength: 80 }) });
  await fc.assert(
    fc.asyncProperty(traces, async ({ ip, key, steps }) => {
      await redis.flushall();
      const buckets = makeBuckets();
      const limits: Record<'ip' | 'key', { pace: Pace; parallel: number | undefined }> = { ip, key };
      const held: Given[] = [];
      let now_us = BEGIN_US;
      let leases = 0;
      for (const { after_us, takes, back, reload } of steps) {
        now_us += after_us;
        if (reload !== null) limits[reload.of] = reload;
        const given = back.flatMap((at) => held.splice(at % Math.max(1, held.length), 1));
        const asked = takes.map((scopes): Given => {
          leases += 1;
          return { lease: `lease ${leases}`, needs: scopes.map((scope) => ({ scope, id: scope, ...limits[scope] })) };
        });
        for (const { needs } of given) buckets.drop(needs);
        const here = asked.map(({ needs }) => buckets.take(needs, now_us));
        const there = await turnInRedis(given, asked, now_us);
        expect(asked.map(({ needs }, at) => rule(needs, there[at] ?? []))).toEqual(here);
        held.push(...asked.filter((_, at) => here[at]?.refused_by === undefined));
      }
    }),
    { numRuns: 60 },
  );
}, 60_000);

test('a debt of 16 digits keeps every one of them, told and written', async () => {
  const need: Need = {
    scope: 'ip',
    id: 'ip',
    pace: { step_us: 3_600_000_001, slack_us: 2_000_000 * 3_600_000_001 },
    parallel: undefined,
  };
  const debt_us = 7_199_999_999_999_999;
  await redis.set('rate:ip', `${BEGIN_US + debt_us}`);
  const told = await turnInRedis([], [{ lease: 'a', needs: [need] }], BEGIN_US + 1);
  expect(told).toEqual([[{ debt_us: debt_us - 1, promised_us: 0, held: 0 }]]);
  expect(await redis.get('rate:ip')).toBe(`${BEGIN_US + debt_us + 3_600_000_001}`);
});

test('a turn of nothing, of give-backs alone and of a lease nobody holds is answered with no decisions', async () => {
  const needs: Need[] = [{ scope: 'ip', id: 'ip', pace: undefined, parallel: 1 }];
  expect(await turnInRedis([], [], BEGIN_US)).toEqual([]);
  expect(await turnInRedis([{ lease: 'nobody’s', needs }], [], BEGIN_US)).toEqual([]);
});
