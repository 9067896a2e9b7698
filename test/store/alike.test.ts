// What Redis' script decides and what this process decides by itself are the same rules written twice. Here both see the same
// requests at the same times, which the script is given instead of Redis' clock, and must rule alike over any of them.
import fc from 'fast-check';
import { Redis } from 'ioredis';
import { expect, onTestFinished, test } from 'vitest';
import { makeBuckets } from '../../src/store/buckets.ts';
import { paceOf, type Pace } from '../../src/store/gcra.ts';
import { rule, type Need } from '../../src/store/rule.ts';
import { TAKE } from '../../src/store/take.lua.ts';
import { startRedis } from '../stage/redis.ts';

const CLOCK = /local time = redis\.call\('TIME'\)\nlocal now = .*\n/;
const EXPIRY = /, 'PX', string\.format\('%\.0f', math\.ceil\(debt \/ 1000\) \+ 1\)/;
const BEGIN_US = 1_790_000_000_000_000;

const pace = fc
  .record({
    count: fc.constantFrom(1, 3, 7, 10, 100),
    per_ms: fc.constantFrom(1_000, 60_000, 3_600_000),
    burst: fc.constantFrom(0, 1, 5, 20),
  })
  .map(({ count, per_ms, burst }) => paceOf({ count, per_ms }, burst));

const step = fc.record({
  after_us: fc.oneof(fc.constant(0), fc.nat(1_000), fc.nat(200_000), fc.nat(5_000_000), fc.nat(4_000_000_000)),
  who: fc.constantFrom<readonly ('ip' | 'key')[]>(['ip'], ['key'], ['ip', 'key']),
  /** Now and then a reload. */
  reload: fc.option(pace, { freq: 12 }),
});

test('any trace of requests, with reloads between them, is ruled alike', async () => {
  expect(TAKE).toMatch(CLOCK);
  expect(TAKE).toMatch(EXPIRY);
  const script = TAKE.replace(CLOCK, 'local now = tonumber(ARGV[#ARGV])\n').replace(EXPIRY, '');
  const server = await startRedis();
  const redis = new Redis(server.url);
  onTestFinished(async () => {
    redis.disconnect();
    await server.stop();
  });
  const inRedis = async (needs: readonly Need[], now_us: number) => {
    const keys = needs.flatMap(({ id }) => [`rate:${id}`, `places:${id}`]);
    const limits = needs.flatMap(({ pace }) => [pace?.step_us ?? 0, pace?.slack_us ?? 0, -1]);
    const reply = (await redis.eval(script, keys.length, ...keys, 'lease', 1, ...limits, now_us)) as number[];
    const states = needs.map((_, at) => {
      const [debt_us = 0, promised_us = 0, held = 0] = reply.slice(3 * at, 3 * at + 3);
      return { debt_us, promised_us, held };
    });
    return rule(needs, states);
  };
  const traces = fc.record({ ip: pace, key: pace, steps: fc.array(step, { minLength: 20, maxLength: 120 }) });
  await fc.assert(
    fc.asyncProperty(traces, async ({ ip, key, steps }) => {
      await redis.flushall();
      const buckets = makeBuckets();
      const paces: Record<'ip' | 'key', Pace> = { ip, key };
      let now_us = BEGIN_US;
      for (const { after_us, who, reload } of steps) {
        now_us += after_us;
        if (reload !== null) paces[who[0] ?? 'ip'] = reload;
        const needs = who.map((scope): Need => ({ scope, id: scope, pace: paces[scope], parallel: undefined }));
        expect(buckets.take(needs, now_us)).toEqual(await inRedis(needs, now_us));
      }
    }),
    { numRuns: 60 },
  );
}, 60_000);
