// Several gateways that share their limits through one Redis, which has the load's core. Each decides with all of the others.
import { startRedis } from '../../test/stage/redis.ts';
import { chatBody } from '../load/answers.ts';
import { postTo } from '../load/raw.ts';
import { lineTo } from '../load/trace.ts';
import { LOAD_CORE, pin } from '../machine.ts';
import { MODEL, type Running } from './gateway.ts';
import { lanyard } from './lanyard.ts';

export interface Sharing {
  readonly doors: readonly Running[];
  /** How many requests they have decided by themselves so far, because Redis was slow. */
  alone(): Promise<number>;
  stop(): Promise<void>;
}

const REDIS_MS_MAX = 5_000;
const AT_ONCE = 16;
/** A key that is always over its limit. */
const REFUSED = 'sk-bench-refused';

/** @param warm_up requests that each answers beforehand, and as many that it refuses: code is compiled as it runs. */
export async function startSharing(
  engine: string,
  count: number,
  keys: Readonly<Record<string, string>>,
  warm_up: number,
): Promise<Sharing> {
  await using started = new AsyncDisposableStack();
  const redis = started.adopt(await startRedis(), (it) => it.stop());
  pin(redis.pid, LOAD_CORE);
  const doors: Running[] = [];
  for (let n = 0; n < count; n += 1) {
    const own = { redis: redis.url, gateways: count, keys: { ...keys, [REFUSED]: '{ requests: 1/h, burst: 0 }' } };
    const door = started.adopt(await lanyard.start(engine, own), (it) => it.stop());
    doors.push(door);
    const deadline = performance.now() + REDIS_MS_MAX;
    while (!(await metricsOf(door)).includes('\nlanyard_redis_up 1\n')) {
      if (performance.now() > deadline) throw new Error(`${door.url} does not find its Redis`);
    }
    await ask(door, warm_up);
    await ask({ ...door, headers: { authorization: `Bearer ${REFUSED}` } }, warm_up);
  }
  const all = started.move();
  return {
    doors,
    async alone() {
      let alone = 0;
      for (const text of await Promise.all(doors.map(metricsOf))) {
        const decisions = text.matchAll(/^lanyard_limiter_decisions_total\{[^}]*source="share"[^}]*\} (\d+)$/gm);
        for (const [, decided] of decisions) alone += Number(decided);
      }
      return alone;
    },
    stop: () => all.disposeAsync(),
  };
}

async function metricsOf({ url }: Running): Promise<string> {
  return await (await fetch(`${url}/metrics`)).text();
}

async function ask(door: Running, count: number): Promise<void> {
  const line = lineTo(door, postTo(door, 'chat/completions', chatBody(MODEL, 256)));
  await line.open(AT_ONCE);
  for (let asked = 0; asked < count; asked += AT_ONCE) {
    await Promise.all(Array.from({ length: AT_ONCE }, () => line.ask()));
  }
  line.close();
}
