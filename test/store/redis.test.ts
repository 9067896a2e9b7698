// The limits over a real Redis, by one gateway and by several. What happens when Redis is away is in outage.test.ts.
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { setImmediate as nextTurn, setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import * as fc from 'fast-check';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Demand, Verdict } from '../../src/store/limits.ts';
import { startRedis, type RedisServer } from '../stage/redis.ts';
import { BEHAVIOURS, demand, limit, passed, takeTogether } from './behaviours.ts';
import { openGateway, until, type Gateway } from './gateway.ts';

let server: RedisServer;
let one: Gateway;
let two: Gateway;
const children: ChildProcess[] = [];

beforeAll(async () => {
  server = await startRedis();
});
beforeEach(async () => {
  [one, two] = [openGateway(server.url, { reply_ms: 5000 }), openGateway(server.url, { reply_ms: 5000 })];
  await Promise.all([one.up(), two.up()]);
});
afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  await one.connection.redis.flushall();
  await Promise.all([one.close(), two.close()]);
});
afterAll(() => server.stop());

/** Another gateway as a process: how many of its `takes` passed; it then holds its places until killed. */
async function gatewayProcess(takes: number, asked: Demand, lease_ms = 30_000): Promise<number> {
  const program = fileURLToPath(new URL('pressure.ts', import.meta.url));
  const child = spawn(process.execPath, [program, server.url, String(takes), String(lease_ms), JSON.stringify(asked)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(child);
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  return Number(line.toString().replace('admitted ', ''));
}

/** Redis has heard all that was given back so far. */
async function told(): Promise<void> {
  await nextTurn();
  await Promise.all([one.connection.redis.ping(), two.connection.redis.ping()]);
}

const places = (id: string): Promise<number> => one.connection.redis.zcard(`lanyard:places:${id}`);

describe('limits over Redis', () => {
  test.each(BEHAVIOURS)('$name', async ({ run }) => {
    await run({ limits: one.limits, name: 'a', wait: (ms) => pause(ms) });
  });

  test('decisions are told to come from Redis', async () => {
    expect(await one.limits.take(demand('a', limit(1, 1, 1)))).toMatchObject({ admitted: true, source: 'redis' });
    expect(one.limits.state()).toMatchObject({ source: 'redis' });
  });

  test('every key expires by itself, and all stand under one prefix', async () => {
    await one.limits.take(demand('a', limit(1, 5, 5), 'b', limit(1, 5, 5)));
    const keys = (await one.connection.redis.keys('*')).filter((key) => key !== 'lanyard:trial');
    expect(keys.toSorted()).toEqual([
      'lanyard:places:ip:a',
      'lanyard:places:key:b',
      'lanyard:rate:ip:a',
      'lanyard:rate:key:b',
    ]);
    for (const key of keys) expect(await one.connection.redis.pttl(key)).toBeGreaterThan(0);
  });

  test('time is kept in microseconds', async () => {
    const asked = demand('a', limit(1000, 1000, undefined, 1000));
    await takeTogether([one.limits], asked, 50);
    const tat = await one.connection.redis.get('lanyard:rate:ip:a');
    const [seconds = 0] = await one.connection.redis.time();
    expect(tat).toMatch(/^\d{16}$/);
    expect(Number(tat) / 1e6 - seconds).toBeLessThan(2);
  });
});

describe('any number of gateways', () => {
  test('share one rate exactly under pressure', async () => {
    const asked = demand('a', limit(1, 49), 'b', limit(1, 200));
    const verdicts = await takeTogether([one.limits, two.limits], asked, 200);
    expect(passed(verdicts)).toBe(50);
    expect(passed(verdicts.filter((_, n) => n % 2 === 0))).toBeGreaterThan(0);
    expect(verdicts.every(({ source }) => source === 'redis')).toBe(true);
  });

  test('share places exactly, as processes of their own', async () => {
    const asked = demand('a', limit(undefined, 0, 30), 'b', limit(1, 19));
    const counts = await Promise.all([gatewayProcess(60, asked), gatewayProcess(60, asked)]);
    expect(counts[0] + counts[1]).toBe(20);
    const more = demand('a', limit(undefined, 0, 30));
    expect(passed(await takeTogether([one.limits], more, 40))).toBe(10);
  });

  test('get a dead gateway’s places back when its leases expire', async () => {
    const asked = demand('a', limit(undefined, 0, 3));
    expect(await gatewayProcess(3, asked, 900)).toBe(3);
    // Alive, it renews them beyond their length.
    await pause(1300);
    expect(passed([await one.limits.take(asked)])).toBe(0);
    children[0]?.kill('SIGKILL');
    await until(async () => (await one.limits.take(asked)).admitted);
  });

  test('keep nothing of a gateway that closed', async () => {
    const three = openGateway(server.url, { reply_ms: 5000 });
    await three.up();
    await three.limits.take(demand('a', limit(undefined, 0, 3)));
    expect(await places('ip:a')).toBe(1);
    await three.close();
    expect(await places('ip:a')).toBe(0);
  });

  test('leak no place in any mix of takes and releases', async () => {
    const step = fc.record({
      take: fc.boolean(),
      by: fc.boolean(),
      ip: fc.nat(2),
      key: fc.nat(2),
      release: fc.nat(20),
    });
    const run = fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      const held: { verdict: Verdict; ip: number; key: number }[] = [];
      for (const { take, by, ip, key, release } of steps) {
        if (!take) {
          for (const { verdict } of held.splice(release % Math.max(1, held.length), 1)) verdict.release();
          // A give-back is not awaited: another gateway's next take must not overtake it.
          await told();
          continue;
        }
        const free = held.filter((of) => of.ip === ip).length < 3 && held.filter((of) => of.key === key).length < 2;
        const asked = demand(`${ip}`, limit(undefined, 0, 3), `${key}`, limit(undefined, 0, 2));
        const verdict = await (by ? one : two).limits.take(asked);
        expect(verdict.admitted).toBe(free);
        if (verdict.admitted) held.push({ verdict, ip, key });
      }
      for (const { verdict } of held) verdict.release();
      await told();
      expect(await one.connection.redis.keys('lanyard:places:*')).toEqual([]);
      expect(one.limits.state()).toMatchObject({ buckets: 0 });
    });
    await fc.assert(run, { numRuns: 30 });
  });

  test('go on after SCRIPT FLUSH, renewals and give-backs too', async () => {
    const short = openGateway(server.url, { reply_ms: 5000, lease_ms: 600 });
    await short.up();
    const asked = demand('a', limit(1, 9, 2));
    const verdict = await short.limits.take(asked);
    await one.connection.redis.script('FLUSH');
    expect(await short.limits.take(asked)).toMatchObject({ admitted: true, source: 'redis' });
    await one.connection.redis.script('FLUSH');
    await pause(900);
    expect(await places('ip:a')).toBe(2);
    await one.connection.redis.script('FLUSH');
    verdict.release();
    await until(async () => (await places('ip:a')) === 1);
    expect(short.events.map(({ type }) => type)).toEqual(['up']);
    await short.close();
  });

  test('tell again what is held when Redis lost it', async () => {
    const short = openGateway(server.url, { reply_ms: 5000, lease_ms: 300 });
    await short.up();
    await short.limits.take(demand('a', limit(undefined, 0, 3), 'b', limit(undefined, 0, 3)));
    await one.connection.redis.flushall();
    await until(async () => (await places('ip:a')) === 1 && (await places('key:b')) === 1);
    await short.close();
  });
});
