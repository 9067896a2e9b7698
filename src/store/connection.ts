// The one connection to Redis, and the breaker in front of it. Commands run only while Redis is known to answer; the first
// one that gets no reply in time opens the breaker, and from then on nobody waits: a background trial, paid for by no
// caller, finds out when Redis is back. ("Slow Redis is worse than dead": BerriAI/litellm's account of April 2026.)
import { Redis } from 'ioredis';
import { causeOf, faultOf, RedisAway, RedisSlow, type Fault, type RedisEvent } from './fault.ts';
import { TRIAL } from './take.lua.ts';

export interface Connection {
  readonly redis: Redis;
  /** Whether a command would be sent now. */
  readonly up: boolean;
  /** How many faults of each kind there have been. */
  readonly faults: Readonly<Record<Fault, number>>;
  /**
   * Runs one command, waiting `wait_ms` for its reply at most. After a failure it may have run or may yet run.
   * @throws RedisAway when Redis is away (nothing is sent), RedisSlow, or what Redis or the connection said.
   */
  run<T>(command: (redis: Redis) => Promise<T>, wait_ms?: number): Promise<T>;
  /** Counts and tells what went wrong with a part of a command that succeeded otherwise. */
  failed(error: unknown): void;
  /** Called each time Redis is back, before any other command: what must be told first is sent first. */
  onUp(listener: () => void): void;
  close(): void;
}

/** No request waits longer than 100 ms for Redis; the rest is for the timer's own lateness. */
export const REPLY_MS = 80;
const CONNECT_MS = 1000;
/** A connection silent for this long with commands unanswered is given up: a peer that vanished sends no FIN. */
const SILENCE_MS = 2000;
const RECONNECT_MS_MAX = 1000;
/** From one trial to the next; doubled each time Redis is lost again within STEADY_MS of coming back. */
const TRIAL_MS = 500;
const TRIAL_MS_MAX = 4000;
const STEADY_MS = 30_000;
/** Between two new connections made because Redis only reads. */
const LOOK_UP_MS = 2_000;
/** Errors of a kind that says nothing about the next command, such as a key of a wrong type, may repeat this often. */
const ODD_ERRORS_MAX = 5;
const REPORT_EVERY_MS = 60_000;

export function connectRedis(url: string, report: (event: RedisEvent) => void, reply_ms = REPLY_MS): Connection {
  const redis = new Redis(url, {
    connectionName: 'lanyard',
    connectTimeout: CONNECT_MS,
    // Not commandTimeout: a NOSCRIPT is answered by sending again, which would start a second one. `within` bounds both.
    socketTimeout: SILENCE_MS,
    disconnectTimeout: 500,
    keepAlive: 10_000,
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    retryStrategy: (times) => Math.min(50 * 2 ** times, RECONNECT_MS_MAX) * (0.75 + Math.random() / 4),
  });

  let state: 'starting' | 'up' | 'away' | 'closed' = 'starting';
  let changed_at = performance.now();
  let relapses = 0;
  let odd_errors = 0;
  let looked_up_at = -Infinity;
  let trying = false;
  let timer: NodeJS.Timeout | undefined;
  const listeners: (() => void)[] = [];
  const faults: Record<Fault, number> = { connect: 0, timeout: 0, auth: 0, readonly: 0, oom: 0, other: 0 };
  const told = new Map<Fault, { at: number; count: number }>();

  redis.on('error', (error: unknown) => lost(error));
  redis.on('close', () => {
    if (state === 'up' || state === 'starting') lost(new Error('Connection is closed'));
  });
  redis.on('ready', () => void tryAgain());

  function note(error: unknown): Fault {
    const fault = faultOf(error);
    faults[fault] += 1;
    return fault;
  }

  /** Counts the fault and opens the breaker, or says (seldom) that it is still open. */
  function lost(error: unknown): void {
    if (state === 'closed') return;
    const fault = note(error);
    const now = performance.now();
    if (state === 'away') {
      tell(fault, error, now);
      lookUpAgain(fault, now);
      return;
    }
    relapses = state === 'up' && now - changed_at < STEADY_MS ? relapses + 1 : 0;
    state = 'away';
    changed_at = now;
    odd_errors = 0;
    told.set(fault, { at: now, count: 0 });
    tryLater();
    lookUpAgain(fault, now);
    report({ type: 'away', fault, cause: causeOf(error) });
  }

  function tell(fault: Fault, error: unknown, now: number): void {
    const last = told.get(fault) ?? { at: -Infinity, count: 0 };
    last.count += 1;
    told.set(fault, last);
    if (now - last.at < REPORT_EVERY_MS) return;
    told.set(fault, { at: now, count: 0 });
    report({ type: 'fault', fault, cause: causeOf(error), count: last.count });
  }

  function failed(error: unknown): void {
    tell(note(error), error, performance.now());
  }

  /** After a fail-over the connection still leads to what was the primary, while the name leads to the new one. */
  function lookUpAgain(fault: Fault, now: number): void {
    if (fault !== 'readonly' || now - looked_up_at < LOOK_UP_MS) return;
    looked_up_at = now;
    redis.disconnect(true);
  }

  function tryLater(): void {
    clearTimeout(timer);
    timer = setTimeout(() => void tryAgain(), Math.min(TRIAL_MS * 2 ** relapses, TRIAL_MS_MAX)).unref();
  }

  async function tryAgain(): Promise<void> {
    if (trying || state === 'up' || state === 'closed') return;
    trying = true;
    try {
      if (redis.status !== 'ready') throw new RedisAway();
      await within(reply_ms, redis.eval(TRIAL, 1, 'lanyard:trial'));
      if (redis.status !== 'ready') throw new RedisAway();
      back();
    } catch (error) {
      // A missing connection has been told by its own error.
      if (!(error instanceof RedisAway)) lost(error);
      tryLater();
    } finally {
      trying = false;
    }
  }

  function back(): void {
    if (state === 'closed') return;
    const now = performance.now();
    const away_ms = Math.round(now - changed_at);
    clearTimeout(timer);
    state = 'up';
    changed_at = now;
    for (const listener of listeners) listener();
    report({ type: 'up', away_ms });
  }

  return {
    redis,
    faults,
    get up() {
      return state === 'up';
    },
    async run(command, wait_ms = reply_ms) {
      if (state !== 'up') throw new RedisAway();
      try {
        const reply = await within(wait_ms, command(redis));
        odd_errors = 0;
        return reply;
      } catch (error) {
        odd_errors += 1;
        if (faultOf(error) !== 'other' || odd_errors >= ODD_ERRORS_MAX) lost(error);
        else failed(error);
        throw error;
      }
    },
    failed,
    onUp(listener) {
      listeners.push(listener);
      if (state === 'up') listener();
    },
    close() {
      state = 'closed';
      clearTimeout(timer);
      redis.disconnect();
    },
  };
}

/**
 * The reply, or RedisSlow. A late reply is still matched to its own command by ioredis and dropped. The timer's verdict
 * waits for one round of the event loop's polling: after a pause of our own, timers run before the sockets are read, and
 * a reply that is already there is not late.
 */
async function within<T>(wait_ms: number, reply: Promise<T>): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => setImmediate(() => late.reject(new RedisSlow())), wait_ms);
  try {
    return await Promise.race([reply, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
