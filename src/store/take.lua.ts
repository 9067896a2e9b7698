// The scripts Redis runs: atomic, on Redis' own clock, so that any number of gateways share every limit exactly. They are
// `gcra.ts` and `rule.ts` again: whole microseconds throughout. Numbers are written with %.0f, because Lua's own conversion
// and cjson's keep 14 digits and a time in microseconds has 16. (cjson reads all of them.) Redis 5 or later (effects
// replication), one node (not a cluster).

/**
 * One turn's give-backs, then its takes in order, each seeing what those before it left. KEYS: per give-back its places; then
 * per take and need its rate and its places. ARGV: one JSON text, `{ lease_us, back: [[lease, number of keys]], takes: [[lease,
 * then per need the step and slack in µs (step 0: no rate) and the number of places (-1: unlimited)]] }`.
 *
 * A take decides over all its needs at once and, only when every one says yes, consumes. Gives JSON, per take and need the debt
 * in µs, how far off the latest promise is, and the places held, all before this request; `rule` tells the rest. A rate's value is
 * its TAT, and behind it what was promised last, while there is a debt. A refusal writes only its promise, and a debt that another
 * rate had run up as what it is at this one. Every key written expires by itself: a rate when it is paid up, places with their
 * last lease (a millisecond later, because Redis counts expiry from the start of the current millisecond).
 *
 * A key of a wrong type is found before its take has written anything, and fails that take alone: it gives Redis' words instead. It
 * holds no lease either. Any other error is of the first write, since Redis asks no later whether it may write; so where the
 * whole fails, nothing was done.
 */
export const TURN = `
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local asked = cjson.decode(ARGV[1])
local expires = string.format('%.0f', now + asked.lease_us)
local lease_px = string.format('%.0f', math.ceil(asked.lease_us / 1000) + 1)
local expired = string.format('%.0f', now)
local live = '(' .. expired

local function try(...)
  local reply = redis.pcall(...)
  if type(reply) ~= 'table' or not reply.err then return reply end
  if string.find(reply.err, 'WRONGTYPE', 1, true) then return nil, reply.err end
  return redis.call(...)
end

local function decide(take, key)
  local needs = (#take - 1) / 3
  local admitted = true
  local debts, promises, told = {}, {}, {}

  for i = 1, needs do
    local step, slack, parallel = take[3 * i - 1], take[3 * i], take[3 * i + 1]
    local debt, promised, held = 0, 0, 0
    if step > 0 then
      local value, wrong = try('GET', KEYS[key + 2 * i - 1])
      if wrong then return cjson.encode(wrong) end
      local tat, last = string.match(value or '', '^(%d+) ?(%d*)$')
      local ahead = (tonumber(tat or '') or now) - now
      debt = math.min(math.max(ahead, 0), slack + step)
      if ahead <= debt then promised = math.max((tonumber(last or '') or now) - now, 0) end
      if debt > slack then admitted = false end
    end
    if parallel >= 0 then
      local count, wrong = try('ZCOUNT', KEYS[key + 2 * i], live, '+inf')
      if wrong then return cjson.encode(wrong) end
      held = count
      if held >= parallel then admitted = false end
    end
    debts[i] = debt
    promises[i] = promised
    told[i] = string.format('%.0f,%.0f,%.0f', debt, promised, held)
  end

  for i = 1, needs do
    local step, slack, parallel = take[3 * i - 1], take[3 * i], take[3 * i + 1]
    local debt, promised = debts[i], promises[i]
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
      redis.call('SET', KEYS[key + 2 * i - 1], value, 'PX', string.format('%.0f', math.ceil(debt / 1000) + 1))
    end
    if parallel >= 0 and admitted then
      local places = KEYS[key + 2 * i]
      redis.call('ZREMRANGEBYSCORE', places, '-inf', expired)
      redis.call('ZADD', places, expires, take[1])
      redis.call('PEXPIRE', places, lease_px)
    end
  end
  return '[' .. table.concat(told, ',') .. ']'
end

local key = 0
for _, back in ipairs(asked.back) do
  for i = 1, back[2] do try('ZREM', KEYS[key + i], back[1]) end
  key = key + back[2]
end
local replies = {}
for n, take in ipairs(asked.takes) do
  replies[n] = decide(take, key)
  key = key + 2 * (#take - 1) / 3
end
return '[' .. table.concat(replies, ',') .. ']'
`;

/** Says again that leases are held, whether Redis still knew of them or not. KEYS: one bucket's places. ARGV: the length in µs, leases. */
export const RENEW = `
local time = redis.call('TIME')
local expires = string.format('%.0f', tonumber(time[1]) * 1000000 + tonumber(time[2]) + tonumber(ARGV[1]))
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], expires, ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.ceil(tonumber(ARGV[1]) / 1000) + 1))
return #ARGV - 1
`;

/** Whether a script that writes is run at all: a PING would also be answered by a replica, and by a Redis out of memory. */
export const TRIAL = `return redis.call('SET', KEYS[1], '1', 'PX', '1000')`;
