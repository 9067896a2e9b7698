// What the limits cost a request that needs both kinds, its address' and its key's, each with a rate and places: processor
// time here and in Redis, and what is waited for. Redis has the load's core.
import { readFileSync } from 'node:fs';
import { startRedis } from '../../test/stage/redis.ts';
import { runLoad } from '../load/run.ts';
import { AT_ONCE, type Takes, type Told, type Way } from '../load/takes.ts';
import { GATEWAY_CORE, LOAD_CORE, pin } from '../machine.ts';
import type { Measure, Sample } from '../measure.ts';
import { commit } from '../gateways/lanyard.ts';

const WAYS: readonly (readonly [name: string, way: Way])[] = [
  ['lanyard in process', 'in process'],
  ['lanyard redis', 'redis'],
  ['lanyard redis near', 'redis near'],
  ['rate-limiter-flexible', 'flexible'],
];

export const limits: Measure = {
  name: 'limits',
  title: 'Two limits a request, taken and given back (near: one more would be refused)',
  base: 'rate-limiter-flexible',
  figures: [
    {
      name: 'cpu_together',
      title: `CPU a request, ${AT_ONCE} at once`,
      unit: 'µs',
      target: { text: '≤ 10 µs', met: (own) => own <= 10 },
    },
    { name: 'cpu_one', title: 'CPU a request, one at a time', unit: 'µs' },
    { name: 'redis_together', title: `Redis’ CPU a request, ${AT_ONCE} at once`, unit: 'µs' },
    { name: 'redis_one', title: 'Redis’ CPU a request, one at a time', unit: 'µs' },
    {
      name: 'trips',
      title: 'round trips waited for',
      unit: 'a request',
      digits: 2,
      target: { text: '≤ 1; aim ≤ 0.1 far from the limit', met: (own) => own <= 1 },
    },
    { name: 'commands_one', title: 'commands sent, one at a time', unit: 'a request', digits: 2 },
    { name: 'commands_together', title: `commands sent, ${AT_ONCE} at once`, unit: 'a request', digits: 2 },
    { name: 'p50_one', title: 'wait p50, one at a time', unit: 'ms', digits: 3 },
    { name: 'p99_one', title: 'wait p99, one at a time', unit: 'ms', digits: 3 },
    { name: 'p50_together', title: `wait p50, ${AT_ONCE} at once`, unit: 'ms', digits: 3 },
    { name: 'p99_together', title: `wait p99, ${AT_ONCE} at once`, unit: 'ms', digits: 3 },
  ],
  async open({ quick }) {
    const redis = await startRedis();
    pin(redis.pid, LOAD_CORE);
    return WAYS.map(([name, way], at) => ({
      name,
      version: way === 'flexible' ? flexibleVersion() : commit(),
      round: () => round({ way, url: redis.url, seconds: quick ? 0.4 : 1.5, counted: quick ? 10 : 50 }),
      close: () => (at === 0 ? redis.stop() : Promise.resolve()),
    }));
  },
};

async function round(takes: Takes): Promise<Sample> {
  const { one, together, ...counted } = await runLoad<Told>('./takes.ts', takes, 60, GATEWAY_CORE);
  return {
    ...counted,
    cpu_one: one.cpu_us,
    redis_one: one.redis_us,
    p50_one: one.p50,
    p99_one: one.p99,
    cpu_together: together.cpu_us,
    redis_together: together.redis_us,
    p50_together: together.p50,
    p99_together: together.p99,
  };
}

function flexibleVersion(): string {
  const file = new URL('../../node_modules/rate-limiter-flexible/package.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}
