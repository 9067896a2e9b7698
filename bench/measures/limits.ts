// What the limits cost a request that needs both kinds, its address' and its key's, each with a rate and places: processor
// time here and in Redis, and what is waited for. First by themselves, many together, which flatters whatever is done in
// batches; then in the whole gateway, where the rest of a request comes between. Redis has the load's core.
import { readFileSync } from 'node:fs';
import { startRedis } from '../../test/stage/redis.ts';
import { MODEL, type Running } from '../gateways/gateway.ts';
import { commit, lanyard } from '../gateways/lanyard.ts';
import { chatBody } from '../load/answers.ts';
import { startMockEngine } from '../load/engine.ts';
import { runLoad } from '../load/run.ts';
import { AT_ONCE, type Takes, type Told, type Way } from '../load/takes.ts';
import { closedLoad } from '../load/wrk.ts';
import { GATEWAY_CORE, LOAD_CORE, cpuMs, pin } from '../machine.ts';
import type { Measure, Sample } from '../measure.ts';

/** Connections of the load on whole gateways. */
const CONNECTIONS = 16;

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
    {
      name: 'cpu_line',
      title: `CPU a request of the whole gateway, ${CONNECTIONS} at once`,
      unit: 'µs',
      target: {
        text: '≤ 10 µs more than in process',
        met: (own, ratio) => own - own / (ratio('lanyard in process') ?? 1) <= 10,
      },
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
    await using started = new AsyncDisposableStack();
    const redis = started.adopt(await startRedis(), (it) => it.stop());
    pin(redis.pid, LOAD_CORE);
    const engine = started.adopt(await startMockEngine(), (it) => it.stop());
    const gateways: Partial<Record<Way, Running>> = {
      'in process': started.adopt(await lanyard.start(engine.url), (it) => it.stop()),
      redis: started.adopt(await lanyard.start(engine.url, { redis: redis.url }), (it) => it.stop()),
    };
    // Their code is compiled as it runs.
    if (!quick) for (const gateway of Object.values(gateways)) await cpuOf(gateway, 5);
    const all = started.move();
    return WAYS.map(([name, way]) => ({
      name,
      version: way === 'flexible' ? flexibleVersion() : commit(),
      async round() {
        const alone = await round({ way, url: redis.url, seconds: quick ? 0.2 : 1.2, counted: quick ? 5 : 50 });
        const gateway = gateways[way];
        return gateway === undefined ? alone : { ...alone, cpu_line: await cpuOf(gateway, quick ? 1 : 3) };
      },
      close: () => all.disposeAsync(),
    }));
  },
};

/** Microseconds of processor time a request. */
async function cpuOf(gateway: Running, seconds: number): Promise<number> {
  const pid = gateway.pid ?? 0;
  const before = cpuMs(pid);
  const { requests } = await closedLoad(gateway, chatBody(MODEL), { connections: CONNECTIONS, seconds });
  return ((cpuMs(pid) - before) * 1000) / requests;
}

async function round(takes: Takes): Promise<Sample> {
  const run = (): Promise<Told> => runLoad<Told>('./takes.ts', takes, 60, GATEWAY_CORE);
  // A machine so busy that Redis was silent for seconds has measured nothing: once more.
  const { one, together, ...counted } = await run().catch(run);
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
