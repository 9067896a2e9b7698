// Limits shared by any number of gateways. One script in one round trip decides over everything a request needs, and over
// everything that is asked in the same turn of the event loop (`turn.ts`). A place is a lease: named, given back by name,
// renewed while it is held, and gone by itself when its gateway dies. While Redis is
// away this process enforces its share of the limits (or refuses), and tells Redis afterwards what it holds.
import { randomBytes } from 'node:crypto';
import { GatewayError } from '../wire/errors.ts';
import { Present } from '../ops/present.ts';
import { makeBuckets } from './buckets.ts';
import type { Connection } from './connection.ts';
import { admitted, refused, type Limits, type Source, type Verdict } from './limits.ts';
import { needsOf, rule, type Need, type Ruling, type State } from './rule.ts';
import { shareOf } from './share.ts';
import { RENEW } from './take.lua.ts';
import { openTurn, placesKey, type Lease } from './turn.ts';

export interface SharedOptions {
  /** How many gateways share this Redis. */
  readonly gateways: number;
  /** When Redis is away: `local`: this process's share; `closed`: refuse with 503. */
  readonly fail: 'local' | 'closed';
  /** How long a dead gateway's places stay taken. */
  readonly lease_ms?: number;
}

const LEASE_MS = 30_000;
/** Renewing thousands of leases may take longer than one request may wait. */
const RENEW_WAIT_MS = 2000;
const LEASES_PER_COMMAND = 500;
const RETRY_MS = 1000;
const UNLIMITED: Ruling = { refused_by: undefined, rate: undefined };

export function redisLimits(connection: Connection, options: SharedOptions): Limits {
  const { gateways, fail, lease_ms = LEASE_MS } = options;
  const gateway = randomBytes(6).toString('base64url');
  const buckets = makeBuckets();
  /** What this process holds, whoever granted it. */
  const held = new Present<Lease>();
  const turn = openTurn(connection, lease_ms);
  let leases = 0;

  connection.onUp(() => void settle());
  const timer = setInterval(() => void settle(), lease_ms / 3).unref();

  async function ask(needs: readonly Need[], lease: Lease): Promise<Verdict> {
    let states: readonly State[];
    try {
      states = await turn.take(lease, needs);
    } catch {
      return withoutRedis(needs, lease);
    }
    const ruling = rule(needs, states);
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
    const leave = held.enter(lease);
    return admitted(source, ruling, () => {
      leave();
      buckets.drop(lease.needs);
      giveBack(lease);
    });
  }

  /** Commands on one connection keep their order, so this overtakes neither its take, which was answered, nor a renewal. */
  function giveBack(lease: Lease): void {
    if (lease.sent && lease.needs.length > 0) turn.giveBack(lease);
  }

  /** Tells Redis what is held, and what it has not been told of give-backs. */
  async function settle(): Promise<void> {
    if (connection.up) await Promise.all([renew(), turn.flush()]);
  }

  /** In one pipeline. Unconditional: a restarted Redis knows nothing. */
  async function renew(): Promise<void> {
    const renewals = byBucket(held.all());
    if (renewals.size === 0) return;
    try {
      await connection.run(async (redis) => {
        const pipeline = redis.pipeline();
        for (const [id, names] of renewals) {
          for (let from = 0; from < names.length; from += LEASES_PER_COMMAND) {
            const some = names.slice(from, from + LEASES_PER_COMMAND);
            // Not by its hash: an unknown one is answered by sending the script, behind what was given back meanwhile.
            pipeline.eval(RENEW, 1, placesKey(id), lease_ms * 1000, ...some);
          }
        }
        for (const lease of held.all()) lease.sent = true;
        const failed = (await pipeline.exec())?.find(([error]) => error !== null);
        if (failed?.[0]) throw failed[0];
      }, RENEW_WAIT_MS);
    } catch {
      // The connection has counted and told it; it is all said again the next time.
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
      for (const lease of held.clear()) giveBack(lease);
      await settle();
    },
  };
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
