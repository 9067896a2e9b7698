// Redis, over the very connection a gateway would open: what it is, how fast it answers, whether it keeps what it is told.
import { setTimeout as pause } from 'node:timers/promises';
import { about, count, type Finding } from './finding.ts';
import type { Clock } from './host.ts';
import { connectRedis, REPLY_MS, type Connection } from '../store/connection.ts';
import type { Fault } from '../store/fault.ts';
import type { Redis } from '../types.ts';

export interface RedisNews {
  readonly findings: readonly Finding[];
  readonly clock: Clock | undefined;
}

/** Connecting, the server's greeting and the first script: beyond it the gateway itself would have given up. */
const OPEN_MS = 4_000;
/** INFO of a busy server may be large. */
const COMMAND_MS = 1_000;
const PINGS = 20;
/** The scripts need effects replication (Redis 5). */
const VERSION_MIN = 5;

const REMEDIES: Readonly<Record<Fault, string>> = {
  connect: 'Is it started, and does it listen on that address? `redis-cli -u URL ping` from this machine says more.',
  timeout:
    'Something answers the connection and then nothing: a frozen Redis, a firewall, or TLS (rediss://) on a plain port.',
  auth: 'Put the right password (and user) into REDIS_URL: redis://:PASSWORD@host:6379/0; the user needs +@all on lanyard:*.',
  readonly: 'It is a replica: name the primary in REDIS_URL.',
  oom: 'It is full: raise `maxmemory`, or give Lanyard a Redis of its own (it needs a few MB).',
  other: 'Lanyard needs Redis 5 or newer, one node (not a cluster), with Lua scripts allowed.',
};

export async function redis(config: Redis): Promise<RedisNews> {
  const subject = nameOf(config.url);
  const said = about('redis.reachable', subject);
  const opened = Promise.withResolvers<Fault | undefined>();
  const began = performance.now();
  const connection = connectRedis(config.url, (event) => opened.resolve(event.type === 'up' ? undefined : event.fault));
  try {
    const late = pause(OPEN_MS, 'timeout' as const, { ref: false });
    const fault = await Promise.race([opened.promise, late]);
    if (fault !== undefined) {
      const then =
        config.fail === 'closed'
          ? 'every request is refused (fail: closed)'
          : `each gateway enforces its share, 1/${config.gateways}`;
      return { findings: [said.fail(`${WORDS[fault]}; until it is back ${then}`, REMEDIES[fault])], clock: undefined };
    }
    const findings = [said.ok(`answers and runs our scripts, after ${Math.round(performance.now() - began)} ms`)];
    const speed = await latency(connection, subject);
    const info = await tell(connection.redis.info());
    if (info !== undefined) findings.push(...whatItIs(info, subject));
    findings.push(speed);
    return { findings, clock: await clockOf(connection, subject) };
  } finally {
    connection.close();
  }
}

/** Host and port only: the URL may hold a password. */
function nameOf(url: string): string {
  const { protocol, host, pathname } = new URL(url);
  return protocol === 'unix:' ? pathname : host;
}

const WORDS: Readonly<Record<Fault, string>> = {
  connect: 'cannot be reached',
  timeout: 'does not answer in time',
  auth: 'refuses our password or user',
  readonly: 'only reads: it is a replica',
  oom: 'has no memory left',
  other: 'does not run our script',
};

async function latency(connection: Connection, subject: string): Promise<Finding> {
  const said = about('redis.latency', subject);
  const taken: number[] = [];
  for (let at = 0; at < PINGS; at += 1) {
    const began = performance.now();
    if ((await tell(connection.redis.ping())) === undefined) break;
    taken.push(performance.now() - began);
  }
  const sorted = taken.toSorted((a, b) => a - b);
  const [median = Infinity, most = Infinity] = [sorted[sorted.length >> 1], sorted.at(-1)];
  const found = `${taken.length} of ${PINGS} pings: half within ${median.toFixed(1)} ms, all within ${most.toFixed(1)} ms`;
  const remedy =
    'Keep Redis near the gateways, on a machine that does not swap, without commands that take long (KEYS, big Lua).';
  if (taken.length < PINGS) return said.fail(`stopped answering after ${count(taken.length, 'ping')}`, remedy);
  if (median > REPLY_MS / 4 || most > REPLY_MS) {
    return said.warn(`${found}; a gateway waits ${REPLY_MS} ms at most, and then goes by its own share`, remedy);
  }
  return said.ok(`${found} (a gateway waits ${REPLY_MS} ms at most)`);
}

function whatItIs(info: string, subject: string): Finding[] {
  const field = (name: string): string => new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1] ?? '';
  const version = field('redis_version');
  const kind = field('server_name') || 'Redis';
  const served = about('redis.version', subject);
  const kept = about('redis.memory', subject);
  const found: Finding[] = [];
  if (field('redis_mode') === 'cluster') {
    found.push(
      served.fail('is a cluster: one script decides over several keys', 'Use one node (with a replica, if you like).'),
    );
  } else if (Number.parseInt(version, 10) < VERSION_MIN) {
    found.push(served.fail(`${kind} ${version} is too old`, `${VERSION_MIN} or newer is needed.`));
  } else {
    found.push(served.ok(`${kind} ${version}`));
  }
  const policy = field('maxmemory_policy');
  const max = Number(field('maxmemory') || '0');
  if (max > 0 && policy !== 'noeviction') {
    // All our keys expire by themselves, so volatile-* takes them as well as allkeys-* does. One that refuses writes is better:
    // it is told as `oom`, and each gateway goes by its share until there is room.
    found.push(
      kept.warn(
        `when its ${field('maxmemory_human') || max} are full it drops keys (${policy}): limits would be forgotten without a word`,
        'Give Lanyard a Redis of its own, or set `maxmemory-policy noeviction`; then a full Redis is noticed.',
      ),
    );
  } else {
    found.push(
      kept.ok(max > 0 ? `${policy}: a full Redis is noticed, not papered over` : 'no maxmemory: no key is dropped'),
    );
  }
  return found;
}

async function clockOf(connection: Connection, subject: string): Promise<Clock | undefined> {
  const asked = Date.now();
  const time = await tell(connection.redis.time());
  const [seconds, micros] = (time ?? []).map(Number);
  if (seconds === undefined || micros === undefined) return undefined;
  return { of: `Redis ${subject}`, ahead_ms: seconds * 1000 + micros / 1000 - (asked + Date.now()) / 2 };
}

/** A reply in time, or `undefined`: a command this user may not run is no fault of Redis'. */
async function tell<T>(reply: Promise<T>): Promise<T | undefined> {
  const late = new AbortController();
  try {
    return await Promise.race([reply, pause(COMMAND_MS, undefined, { signal: late.signal })]);
  } catch {
    return undefined;
  } finally {
    late.abort();
  }
}
