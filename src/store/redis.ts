// Limits shared by any number of gateways. One script in one round trip decides over everything a request needs. A place is
// a lease: named, given back by name, renewed while it is held, and gone by itself when its gateway dies. While Redis is
// away this process enforces its share of the limits (or refuses), and tells Redis afterwards what it holds.
import { randomBytes } from 'node:crypto';
import type { Result } from 'ioredis';
import { GatewayError } from '../wire/errors.ts';
import { makeBuckets } from './buckets.ts';
import type { Connection } from './connection.ts';
import { admitted, refused, type Limits, type Source, type Verdict } from './limits.ts';
import { needsOf, rule, type Need, type Ruling, type State } from './rule.ts';
import { shareOf } from './share.ts';
import { GIVE_BACK, RENEW, TAKE } from './take.lua.ts';

export interface SharedOptions {
  /** How many gateways share this Redis. */
  readonly gateways: number;
  /** When Redis is away: `local`: this process's share; `closed`: refuse with 503. */
  readonly fail: 'local' | 'closed';
  /** How long a dead gateway's places stay taken. */
  readonly lease_ms?: number;
}

/** The places of one request. */
interface Lease {
  readonly name: string;
  readonly needs: readonly Need[];
  /** Redis has it, or may have it. */
  sent: boolean;
}

const LEASE_MS = 30_000;
/** Renewing thousands of leases may take longer than one request may wait. */
const RENEW_WAIT_MS = 2000;
const LEASES_PER_COMMAND = 500;
const RETRY_MS = 1000;
const UNLIMITED: Ruling = { refused_by: undefined, rate: undefined };

declare module 'ioredis' {
  interface RedisCommander<Context> {
    lanyardTake(keys: number, ...args: (string | number)[]): Result<number[], Context>;
    lanyardRenew(key: string, ...args: (string | number)[]): Result<number, Context>;
    lanyardGiveBack(keys: number, ...args: string[]): Result<number, Context>;
  }
}

export function redisLimits(connection: Connection, options: SharedOptions): Limits {
  const { gateways, fail, lease_ms = LEASE_MS } = options;
  const gateway = randomBytes(6).toString('base64url');
  const buckets = makeBuckets();
  /** What this process holds, whoever granted it. */
  const held = new Set<Lease>();
  /** Leases to give back that Redis has not confirmed; by expiry at the latest. */
  const owed = new Set<Lease>();
  let leases = 0;

  connection.redis.defineCommand('lanyardTake', { lua: TAKE });
  connection.redis.defineCommand('lanyardRenew', { lua: RENEW, numberOfKeys: 1 });
  connection.redis.defineCommand('lanyardGiveBack', { lua: GIVE_BACK });
  connection.onUp(() => void settle());
  const timer = setInterval(() => void settle(), lease_ms / 3).unref();

  async function ask(needs: readonly Need[], lease: Lease): Promise<Verdict> {
    lease.sent = true;
    let reply: number[];
    try {
      const keys = needs.flatMap(({ id }) => [rateKey(id), placesKey(id)]);
      const limits = needs.flatMap(({ pace, parallel }) => [pace?.step_us ?? 0, pace?.slack_us ?? 0, parallel ?? -1]);
      reply = await connection.run((redis) =>
        redis.lanyardTake(keys.length, ...keys, lease.name, lease_ms * 1000, ...limits),
      );
    } catch {
      return withoutRedis(needs, lease);
    }
    const ruling = rule(needs, statesOf(reply));
    if (ruling.refused_by !== undefined) return refused('redis', ruling);
    buckets.hold(lease.needs);
    return grant('redis', ruling, lease);
  }

  function withoutRedis(needs: readonly Need[], lease: Lease): Verdict {
    if (fail === 'closed') {
      giveBack(lease);
      throw new GatewayError(
        'limits_unavailable',
        'The rate limits cannot be checked right now. Please retry shortly.',
        {
          retry_ms: RETRY_MS,
          cause: 'redis away, fail closed',
        },
      );
    }
    const ruling = buckets.take(
      needs.map((need) => shareOf(need, gateways)),
      Math.floor(performance.now() * 1000),
    );
    if (ruling.refused_by !== undefined) {
      giveBack(lease);
      return refused('share', ruling);
    }
    return grant('share', ruling, lease);
  }

  function grant(source: Source, ruling: Ruling, lease: Lease): Verdict {
    held.add(lease);
    return admitted(source, ruling, () => {
      held.delete(lease);
      buckets.drop(lease.needs);
      giveBack(lease);
    });
  }

  /** Fire and forget. Commands on one connection keep their order, so this overtakes neither its take nor a renewal. */
  function giveBack(lease: Lease): void {
    if (!lease.sent || lease.needs.length === 0) return;
    if (!connection.up) {
      owed.add(lease);
      return;
    }
    const keys = lease.needs.map(({ id }) => placesKey(id));
    connection.run((redis) => redis.lanyardGiveBack(keys.length, ...keys, lease.name)).catch(() => owed.add(lease));
  }

  /** Tells Redis, in one pipeline, what is owed and what is held. Unconditional: a restarted Redis knows nothing. */
  async function settle(): Promise<void> {
    const returns = [...owed];
    const renewals = byBucket(held);
    if (!connection.up || (returns.length === 0 && renewals.size === 0)) return;
    owed.clear();
    try {
      await connection.run(async (redis) => {
        const pipeline = redis.pipeline();
        for (const { name, needs } of returns) {
          pipeline.lanyardGiveBack(needs.length, ...needs.map(({ id }) => placesKey(id)), name);
        }
        for (const [id, names] of renewals) {
          for (let from = 0; from < names.length; from += LEASES_PER_COMMAND) {
            pipeline.lanyardRenew(placesKey(id), lease_ms * 1000, ...names.slice(from, from + LEASES_PER_COMMAND));
          }
        }
        for (const lease of held) lease.sent = true;
        const failed = (await pipeline.exec())?.find(([error]) => error !== null);
        if (failed?.[0]) throw failed[0];
      }, RENEW_WAIT_MS);
    } catch {
      for (const lease of returns) owed.add(lease);
    }
  }

  return {
    take(demand) {
      const needs = needsOf(demand);
      leases += 1;
      const lease: Lease = {
        name: `${gateway}:${leases.toString(36)}`,
        needs: needs.filter(({ parallel }) => parallel !== undefined),
        sent: false,
      };
      if (needs.length === 0) return grant(connection.up ? 'redis' : 'share', UNLIMITED, lease);
      if (connection.up) return ask(needs, lease);
      return fail === 'local' ? withoutRedis(needs, lease) : Promise.try(() => withoutRedis(needs, lease));
    },
    state: () => ({
      source: connection.up ? 'redis' : 'share',
      places: held.size,
      buckets: buckets.size,
      faults: connection.faults,
    }),
    async close() {
      clearInterval(timer);
      for (const lease of held) if (lease.sent) owed.add(lease);
      held.clear();
      await settle();
    },
  };
}

function rateKey(id: string): string {
  return `lanyard:rate:${id}`;
}

function placesKey(id: string): string {
  return `lanyard:places:${id}`;
}

function statesOf(reply: readonly number[]): State[] {
  const states: State[] = [];
  for (let i = 0; i < reply.length; i += 3) {
    const [debt_us = 0, promised_us = 0, held = 0] = reply.slice(i, i + 3);
    states.push({ debt_us, promised_us, held });
  }
  return states;
}

function byBucket(leases: Iterable<Lease>): Map<string, string[]> {
  const names = new Map<string, string[]>();
  for (const lease of leases) {
    for (const { id } of lease.needs) {
      const known = names.get(id);
      if (known === undefined) names.set(id, [lease.name]);
      else known.push(lease.name);
    }
  }
  return names;
}
