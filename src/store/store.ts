// What gateways share, opened as the configuration says: in this process, or in Redis over one connection with one breaker.
import type { Rate, Redis } from '../types.ts';
import { redisAnswers, type Answers } from './answers.ts';
import { connectRedis } from './connection.ts';
import { authFailures, type Failures } from './failures.ts';
import type { RedisEvent } from './fault.ts';
import { localLimits, type Limits } from './limits.ts';
import { redisLimits } from './redis.ts';

export interface Store {
  readonly limits: Limits;
  /** Failed authentications; of another rate after a reload by `failuresAt`. */
  readonly failures: Failures;
  failuresAt(rate: Rate): Failures;
  /** Answers to give again, where there is a Redis; `bytes_max` of the first call holds. */
  answers(bytes_max: () => number): Answers | undefined;
  close(): Promise<void>;
}

/** Does not wait for Redis: until it answers, this process' share of the limits is enforced. */
export function openStore(
  config: { readonly redis: Redis | undefined; readonly auth_failures: Rate },
  report: (event: RedisEvent) => void,
): Store {
  const connection = config.redis && connectRedis(config.redis.url, report);
  const limits = connection && config.redis ? redisLimits(connection, config.redis) : localLimits();
  let answers: Answers | undefined;
  const failuresAt = (rate: Rate): Failures => authFailures(rate, connection);
  return {
    limits,
    failures: failuresAt(config.auth_failures),
    failuresAt,
    answers(bytes_max) {
      const { redis } = config;
      // That Redis is away is told by the other connection.
      if (redis !== undefined)
        answers ??= redisAnswers(
          connectRedis(redis.url, () => undefined),
          bytes_max,
        );
      return answers;
    },
    async close() {
      answers?.close();
      await limits.close();
      connection?.close();
    },
  };
}

/** Closes a store that is no longer used once the last place taken from it has been given back. */
export async function retire(store: Store): Promise<void> {
  while (store.limits.state().places > 0) await new Promise((resolve) => setTimeout(resolve, 1_000).unref());
  await store.close();
}
