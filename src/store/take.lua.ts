// The scripts Redis runs: atomic, on Redis' own clock, so that any number of gateways share every limit exactly. They are
// `gcra.ts` and `rule.ts` again: whole microseconds throughout. Numbers are written with %.0f, because Lua's own conversion
// keeps 14 digits and a time in microseconds has 16. Redis 5 or later (effects replication), one node (not a cluster).

/**
 * Decides over all needs at once and, only when every one says yes, consumes. KEYS: per need its rate and its places.
 * ARGV: the lease's name and its length in µs; then per need the step and slack in µs (step 0: no rate) and the number of
 * places (-1: unlimited). Gives per need the debt in µs, how far off the latest promise is, and the places held, all before this
 * request; `rule` tells the rest. A rate's value is its TAT, and behind it what was promised last, while there is a debt. A
 * refusal writes only its promise, and a debt that another rate had run up as what it is at this one. Every key written expires by itself: a rate when it is paid up, places with their last lease
 * (a millisecond later, because Redis counts expiry from the start of the current millisecond).
 */
export const TAKE = `
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local lease = ARGV[1]
local lease_us = tonumber(ARGV[2])
local admitted = true
local states = {}

for i = 1, #KEYS / 2 do
  local step = tonumber(ARGV[3 * i])
  local slack = tonumber(ARGV[3 * i + 1])
  local parallel = tonumber(ARGV[3 * i + 2])
  local debt, promised, held = 0, 0, 0
  if step > 0 then
    local tat, last = string.match(redis.call('GET', KEYS[2 * i - 1]) or '', '^(%d+) ?(%d*)$')
    local ahead = (tonumber(tat or '') or now) - now
    debt = math.min(math.max(ahead, 0), slack + step)
    if ahead <= debt then promised = math.max((tonumber(last or '') or now) - now, 0) end
    if debt > slack then admitted = false end
  end
  if parallel >= 0 then
    held = redis.call('ZCOUNT', KEYS[2 * i], string.format('(%.0f', now), '+inf')
    if held >= parallel then admitted = false end
  end
  states[3 * i - 2] = debt
  states[3 * i - 1] = promised
  states[3 * i] = held
end

for i = 1, #KEYS / 2 do
  local step = tonumber(ARGV[3 * i])
  local slack = tonumber(ARGV[3 * i + 1])
  local parallel = tonumber(ARGV[3 * i + 2])
  local debt, promised = states[3 * i - 2], states[3 * i - 1]
  local write = step > 0 and admitted
  if write then
    if debt == 0 then promised = 0 end
    debt = debt + step
  elseif step > 0 and debt > slack then
    write = true
    local turn = promised > 0 and math.min(promised + step, 10000000) or 0
    promised = math.ceil(math.max(debt - slack, turn) / 1000) * 1000
  end
  if write then
    local value = string.format('%.0f', now + debt)
    if promised > 0 then value = value .. string.format(' %.0f', now + promised) end
    redis.call('SET', KEYS[2 * i - 1], value, 'PX', string.format('%.0f', math.ceil(debt / 1000) + 1))
  end
  if parallel >= 0 and admitted then
    redis.call('ZREMRANGEBYSCORE', KEYS[2 * i], '-inf', string.format('%.0f', now))
    redis.call('ZADD', KEYS[2 * i], string.format('%.0f', now + lease_us), lease)
    redis.call('PEXPIRE', KEYS[2 * i], string.format('%.0f', math.ceil(lease_us / 1000) + 1))
  end
end
return states
`;

/** Says again that leases are held, whether Redis still knew of them or not. KEYS: one bucket's places. ARGV: the length in µs, leases. */
export const RENEW = `
local time = redis.call('TIME')
local expires = string.format('%.0f', tonumber(time[1]) * 1000000 + tonumber(time[2]) + tonumber(ARGV[1]))
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], expires, ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.ceil(tonumber(ARGV[1]) / 1000) + 1))
return #ARGV - 1
`;

/** Gives one lease back in every bucket it was held in; a second time changes nothing. KEYS: the places. ARGV: the lease. */
export const GIVE_BACK = `
for i = 1, #KEYS do redis.call('ZREM', KEYS[i], ARGV[1]) end
return #KEYS
`;

/** Whether a script that writes is run at all: a PING would also be answered by a replica, and by a Redis out of memory. */
export const TRIAL = `return redis.call('SET', KEYS[1], '1', 'PX', '1000')`;
