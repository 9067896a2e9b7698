// What the limits cost a request, a program of its own: requests that take what they need and give it back, one after
// another and then many at once. And a few more by a wire that holds back every reply of Redis: how often a request waited
// shows in how long it took, and what it sent stands on the wire.
//
//     node bench/load/takes.ts '{"way":"redis","url":"redis://127.0.0.1:6379","seconds":2,"counted":50}'
import { setTimeout as pause } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { RateLimiterRedis } from 'rate-limiter-flexible';
import { localLimits, type Demand, type Verdict } from '../../src/store/limits.ts';
import type { Limit } from '../../src/types.ts';
import { openGateway } from '../../test/store/gateway.ts';
import { slowWire } from '../../test/store/slow.ts';
import { quantile } from '../rounds.ts';

export type Way = 'in process' | 'redis' | 'redis near' | 'flexible';

export interface Takes {
  readonly way: Way;
  /** Redis, also where the way has no use for it. */
  readonly url: string;
  /** How long requests are made one after another, and as long again many at once. */
  readonly seconds: number;
  /** How many are made by the wire. */
  readonly counted: number;
}

export interface Told {
  readonly one: Cost;
  readonly together: Cost;
  /** Round trips that a request waited for, one after another. */
  readonly trips: number;
  /** Commands sent a request, one after another and many at once. */
  readonly commands_one: number;
  readonly commands_together: number;
}

/** A request's; CPU in microseconds, waits in milliseconds. */
interface Cost {
  readonly cpu_us: number;
  readonly redis_us: number;
  readonly p50: number;
  readonly p99: number;
}

interface Limiter {
  /** The n-th request's address and key, each with a rate and places where the limiter knows places. */
  take(n: number): Taken | Promise<Taken>;
  close(): Promise<unknown>;
}

type Taken = Pick<Verdict, 'admitted' | 'release'>;

export const AT_ONCE = 64;
/** So that a fast limiter's run has an end, and its waits room. */
const REQUESTS_MAX = 300_000;
const HELD_BACK_MS = 20;
const REPLY_MS_MAX = 5_000;
/** What is not awaited is sent and answered by then. */
const SETTLE_MS = 50;

async function run({ way, url, seconds, counted }: Takes): Promise<Told> {
  const limiter = await WAYS[way](url);
  const told = new Redis(url);
  // Its code is compiled as it runs.
  await ask(limiter, AT_ONCE, seconds, REQUESTS_MAX);
  await ask(limiter, 1, seconds, REQUESTS_MAX);
  const one = await cost(limiter, told, 1, seconds);
  const together = await cost(limiter, told, AT_ONCE, seconds);
  await limiter.close();
  told.disconnect();
  return { one, together, ...(await count(way, url, counted)) };
}

const WAYS: Record<Way, (url: string) => Promise<Limiter>> = {
  'in process': inProcess,
  redis: (url) => lanyard(url, far),
  'redis near': (url) => lanyard(url, near),
  flexible,
};

/** As the gateway opens them, but patient with a busy machine; and what Redis does not decide is refused, and fails here. */
async function lanyard(url: string, demand: (n: number) => Demand): Promise<Limiter> {
  const gateway = openGateway(url, { gateways: 1, fail: 'closed', reply_ms: REPLY_MS_MAX });
  await gateway.up();
  return { take: (n) => gateway.limits.take(demand(n)), close: () => gateway.close() };
}

async function inProcess(): Promise<Limiter> {
  const limits = localLimits();
  return { take: (n) => limits.take(far(n)), close: () => limits.close() };
}

/** The well-known limiter, both limits asked at once; it knows rates in fixed windows, and no places. */
async function flexible(url: string): Promise<Limiter> {
  const redis = new Redis(url, { enableOfflineQueue: false, lazyConnect: true });
  await redis.connect();
  const window = { storeClient: redis, points: FAR.burst, duration: 1 };
  const ip = new RateLimiterRedis({ ...window, keyPrefix: 'flexible:ip' });
  const key = new RateLimiterRedis({ ...window, keyPrefix: 'flexible:key' });
  return {
    async take(n) {
      const name = String(n % CALLERS);
      await Promise.all([ip.consume(name), key.consume(name)]);
      return { admitted: true, release: () => undefined };
    },
    close: () => redis.quit(),
  };
}

const CALLERS = 16;
/** More than any machine asks. */
const FAR: Limit = { requests: { count: 1_000_000, per_ms: 1000 }, burst: 1_000_000, parallel: 100_000 };
/** Two at once and no more. */
const NEAR: Limit = { requests: { count: 10, per_ms: 1000 }, burst: 1, parallel: 2 };

function far(n: number): Demand {
  const name = `far ${n % CALLERS}`;
  return { ip: { bucket: name, limit: FAR }, key: { name, limit: FAR } };
}

/** Everybody's first request: it passes, and one more would. */
function near(n: number): Demand {
  const name = `near ${n}`;
  return { ip: { bucket: name, limit: NEAR }, key: { name, limit: NEAR } };
}

/** No two requests have the same number. */
let asked = 0;

/** Milliseconds that each request waited for its verdict. */
async function ask(limiter: Limiter, at_once: number, seconds: number, requests_max: number): Promise<number[]> {
  const waits: number[] = [];
  const last = asked + requests_max;
  const until = performance.now() + seconds * 1000;
  const askOn = async (): Promise<void> => {
    for (let from = performance.now(); from < until && asked < last; from = performance.now()) {
      const taken = limiter.take((asked += 1));
      const { admitted, release } = taken instanceof Promise ? await taken : taken;
      waits.push(performance.now() - from);
      if (!admitted) throw new Error('refused, where nothing was to be refused');
      release();
    }
  };
  await Promise.all(Array.from({ length: at_once }, askOn));
  return waits;
}

async function cost(limiter: Limiter, redis: Redis, at_once: number, seconds: number): Promise<Cost> {
  await pause(SETTLE_MS);
  const redis_before = await redisCpuUs(redis);
  const before = process.cpuUsage();
  const waits = await ask(limiter, at_once, seconds, REQUESTS_MAX);
  await pause(SETTLE_MS);
  const { user, system } = process.cpuUsage(before);
  const redis_us = (await redisCpuUs(redis)) - redis_before;
  return {
    cpu_us: (user + system) / waits.length,
    redis_us: redis_us / waits.length,
    p50: quantile(waits, 0.5),
    p99: quantile(waits, 0.99),
  };
}

async function redisCpuUs(redis: Redis): Promise<number> {
  const info = await redis.info('cpu');
  const seconds = (name: string): number => Number(new RegExp(`^used_cpu_${name}:(\\S+)`, 'm').exec(info)?.[1]);
  return (seconds('user') + seconds('sys')) * 1e6;
}

async function count(
  way: Way,
  url: string,
  requests: number,
): Promise<Pick<Told, 'trips' | 'commands_one' | 'commands_together'>> {
  const wire = await slowWire(Number(new URL(url).port));
  const limiter = await WAYS[way](wire.url);
  const sent = async (): Promise<number> => {
    await pause(SETTLE_MS);
    return [...wire.asked().matchAll(/^\*\d+\r\n\$/gm)].length;
  };
  // The script is sent once.
  await ask(limiter, 1, 1, 1);
  wire.delay_ms = HELD_BACK_MS;
  const before = await sent();
  const waits = await ask(limiter, 1, 60, requests);
  const between = await sent();
  await ask(limiter, AT_ONCE, 60, requests * 8);
  const after = await sent();
  wire.delay_ms = 0;
  await limiter.close();
  wire.close();
  // A timer may be a millisecond early by our clock.
  const trips = waits.map((ms) => Math.floor((ms + 1) / HELD_BACK_MS));
  return {
    trips: trips.reduce((sum, each) => sum + each, 0) / requests,
    commands_one: (between - before) / requests,
    commands_together: (after - between) / (requests * 8),
  };
}

if (import.meta.main) {
  const told = await run(JSON.parse(process.argv[2] ?? '') as Takes);
  process.stdout.write(`${JSON.stringify(told)}\n`);
}
