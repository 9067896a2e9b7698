// Answers to give again, in Redis: every gateway's that shares it. On a connection of its own, so that no large answer stands in
// the way of a limit's decision; away or slow, it is a miss.
import type { Connection } from './connection.ts';

export interface Answers {
  get(id: string): Promise<Buffer | undefined>;
  /** Until `ttl_ms` is over, or newer ones need its room. */
  put(id: string, body: Buffer, ttl_ms: number): Promise<void>;
  close(): void;
}

/** A larger answer takes longer than it is worth waiting for. */
const BODY_BYTES_MAX = 1 << 20;
const WAIT_MS = 250;
const INDEX = 'lanyard:answers';
const SIZES = 'lanyard:answers:bytes';
const keyOf = (id: string): string => `lanyard:answer:${id}`;

/** `bytes_max`: all answers together. */
export function redisAnswers(connection: Connection, bytes_max: () => number): Answers {
  const { redis } = connection;
  redis.defineCommand('lanyardKeep', { numberOfKeys: 3, lua: KEEP });
  return {
    async get(id) {
      return (await connection.run(() => redis.getBuffer(keyOf(id)), WAIT_MS)) ?? undefined;
    },
    async put(id, body, ttl_ms) {
      if (body.length > BODY_BYTES_MAX) return;
      const keep = redis as unknown as Keeper;
      await connection.run(() => keep.lanyardKeep(keyOf(id), INDEX, SIZES, body, ttl_ms, bytes_max()), WAIT_MS);
    },
    close: () => connection.close(),
  };
}

interface Keeper {
  lanyardKeep(
    key: string,
    index: string,
    sizes: string,
    body: Buffer,
    ttl_ms: number,
    bytes_max: number,
  ): Promise<number>;
}

/**
 * Keeps one answer. Redis lets the others go by themselves when their time is over; what they took up is taken off here, those that
 * end first first, and then more of them until the new one fits. All by Redis' own clock, in one step.
 */
const KEEP = `
local key, index, sizes = KEYS[1], KEYS[2], KEYS[3]
local body, ttl, most = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function forget(one)
  local bytes = redis.call('HGET', sizes, one)
  redis.call('HDEL', sizes, one)
  redis.call('ZREM', index, one)
  if bytes then redis.call('HINCRBY', sizes, '', -bytes) end
end
for _, one in ipairs(redis.call('ZRANGEBYSCORE', index, '-inf', now, 'LIMIT', 0, 100)) do forget(one) end
forget(key)
if #body > most then return redis.call('DEL', key) end
while tonumber(redis.call('HGET', sizes, '') or 0) + #body > most do
  local first = redis.call('ZRANGE', index, 0, 0)[1]
  if not first then break end
  redis.call('DEL', first)
  forget(first)
end
redis.call('SET', key, body, 'PX', ttl)
redis.call('ZADD', index, now + ttl, key)
redis.call('HSET', sizes, key, #body)
return redis.call('HINCRBY', sizes, '', #body)
`;
