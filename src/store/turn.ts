// One command a turn of the event loop, whatever is asked in it: takes and give-backs are collected until the turn's sockets are
// read, then sent together. Most of what a command costs here is the command (a timer, a write, a reply): one for each take and
// one for each give-back made 25 µs of a request, 64 at once; together they make 6. Give-backs go first, takes in the order
// they came; nobody waits for more than one round trip.
import type { Result } from 'ioredis';
import type { Connection } from './connection.ts';
import type { Need, State } from './rule.ts';
import { TURN } from './take.lua.ts';

/** The places of one request. */
export interface Lease {
  readonly name: string;
  readonly needs: readonly Need[];
  /** Redis has it, or may have it. */
  sent: boolean;
}

export interface Turn {
  /**
   * What Redis knew of each need before it decided; by the same rules it has consumed, or not.
   * @throws what `Connection.run` throws, and what Redis said of a key that is not ours: then nobody has decided.
   */
  take(lease: Lease, needs: readonly Need[]): Promise<readonly State[]>;
  /** Fire and forget: kept until Redis has confirmed it, in this turn or a later one. By expiry at the latest. */
  giveBack(lease: Lease): void;
  /** Sends what is collected now. Never fails; resolves when all of it is answered. */
  flush(): Promise<void>;
}

interface Take {
  readonly lease: Lease;
  readonly needs: readonly Need[];
  readonly reply: PromiseWithResolvers<readonly State[]>;
}

/** By take: three numbers a need, or what Redis said of a key of a wrong type. */
type Replies = readonly (readonly number[] | string)[];

/** Takes and give-backs in one command. Redis serves nobody else meanwhile, and a take keeps it for about 16 µs. */
const PER_COMMAND_MAX = 128;
/** Nobody waits for give-backs, and after an outage there may be thousands. */
const GIVE_BACK_WAIT_MS = 2000;

declare module 'ioredis' {
  interface RedisCommander<Context> {
    lanyardTurn(keys: number, ...args: string[]): Result<string, Context>;
  }
}

export function openTurn(connection: Connection, lease_ms: number): Turn {
  let takes: Take[] = [];
  const returns = new Set<Lease>();
  let next: NodeJS.Immediate | undefined;

  connection.redis.defineCommand('lanyardTurn', { lua: TURN });

  function flush(): Promise<void> {
    clearImmediate(next);
    next = undefined;
    const [back, asked] = [[...returns], takes];
    returns.clear();
    takes = [];
    const sent: Promise<void>[] = [];
    // As if in one list, so that no take is before a give-back where it is more than one command.
    for (let from = 0; from < back.length + asked.length; from += PER_COMMAND_MAX) {
      const to = from + PER_COMMAND_MAX;
      sent.push(
        send(back.slice(from, to), asked.slice(Math.max(0, from - back.length), Math.max(0, to - back.length))),
      );
    }
    return Promise.all(sent).then(() => undefined);
  }

  async function send(back: readonly Lease[], asked: readonly Take[]): Promise<void> {
    try {
      const wait_ms = asked.length === 0 ? GIVE_BACK_WAIT_MS : undefined;
      const replies = await connection.run(async (redis) => {
        for (const { lease } of asked) lease.sent = true;
        const keys = keysOf(back, asked);
        const text = await redis.lanyardTurn(keys.length, ...keys, JSON.stringify(turnOf(back, asked)));
        return known(JSON.parse(text) as Replies);
      }, wait_ms);
      for (const [at, { reply }] of asked.entries()) {
        const told = replies[at];
        if (typeof told === 'object') reply.resolve(statesOf(told));
        else reply.reject(new Error(told));
      }
    } catch (error) {
      for (const lease of back) returns.add(lease);
      for (const { reply } of asked) reply.reject(error);
    }
  }

  /** A key of a wrong type says nothing about the others' takes. Where there are no others, the command has failed. */
  function known(replies: Replies): Replies {
    const wrong = replies.filter((told) => typeof told === 'string');
    if (wrong.length === 0) return replies;
    if (wrong.length === replies.length) throw new Error(wrong[0]);
    connection.failed(new Error(wrong[0]));
    return replies;
  }

  function turnOf(back: readonly Lease[], asked: readonly Take[]): unknown {
    return {
      lease_us: lease_ms * 1000,
      back: back.map(({ name, needs }) => [name, needs.length]),
      takes: asked.map(({ lease, needs }) => [
        lease.name,
        ...needs.flatMap(({ pace, parallel }) => [pace?.step_us ?? 0, pace?.slack_us ?? 0, parallel ?? -1]),
      ]),
    };
  }

  function later(): void {
    next ??= setImmediate(() => void flush());
  }

  return {
    take(lease, needs) {
      const reply = Promise.withResolvers<readonly State[]>();
      takes.push({ lease, needs, reply });
      later();
      return reply.promise;
    },
    giveBack(lease) {
      returns.add(lease);
      if (connection.up) later();
    },
    flush,
  };
}

export function placesKey(id: string): string {
  return `lanyard:places:${id}`;
}

function keysOf(back: readonly Lease[], asked: readonly Take[]): string[] {
  const keys: string[] = [];
  for (const { needs } of back) for (const { id } of needs) keys.push(placesKey(id));
  for (const { needs } of asked) for (const { id } of needs) keys.push(`lanyard:rate:${id}`, placesKey(id));
  return keys;
}

function statesOf(told: readonly number[]): State[] {
  const states: State[] = [];
  for (let i = 0; i < told.length; i += 3) {
    const [debt_us = 0, promised_us = 0, held = 0] = [told[i], told[i + 1], told[i + 2]];
    states.push({ debt_us, promised_us, held });
  }
  return states;
}
