-- Takes a slot of a limit for code that is not a job, with tokens of its rate; or renews the lease of one.
-- KEYS    the hash of limits, the slots of the limit
-- ARGV    the name of the limit, the id of the slot, how many tokens it costs, the seconds of its lease, the limit as the
--         code has it ('' if it has no numbers), seconds since that was made, 1 to renew a slot, else 0
-- Returns {what, number, before}. what: 'taken'; 'wait', if tokens are missing; 'busy', if as many run as may; 'unknown', if
--         there is no such limit. number: for 'wait', in how many microseconds there may be enough tokens, else 0. before:
--         the numbers of older code that those of this code have replaced; '' if there were none.
-- include sum_shares
-- include rate
-- include shared_limits
-- That of the namespace, before 'limits'.
local prefix = string.sub(KEYS[1], 1, -7)
local name, slot, cost, lease, otherwise = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local function keep()
  redis.call('zadd', KEYS[2], redis.call('time')[1] + lease, slot)
  redis.call('expire', KEYS[2], lease * 2)
end
if ARGV[7] == '1' then
  -- Also one whose lease has ended: its code runs.
  keep()
  return {'taken', 0, ''}
end
-- Seconds by which code must be newer than other code, because its age is that of some time ago.
local MARGIN = 1
-- Announces the limit as the code has it, unless newer code has announced it. Returns what it has replaced.
local function announce()
  local time, field = redis.call('time'), 'code:' .. name
  local made = time[1] + time[2] / 1000000 - tonumber(ARGV[6])
  -- pcall: the key may be of another type.
  local before = redis.pcall('hget', KEYS[1], field)
  local text, at = string.match(type(before) == 'string' and before or '', '^(%S+ %d+) ?(%S*)$')
  if not read_limit(text) then text, at = '', '' end
  if text == '' or text ~= otherwise and (tonumber(at) or 0) + MARGIN < made then
    redis.pcall('hset', KEYS[1], field, string.format('%s %.6f', otherwise, made))
    return text
  end
  return ''
end
local before = otherwise ~= '' and announce() or ''
local limit = limit_of(prefix, name, otherwise)
if not limit then return {'unknown', 0, before} end
local running, slots = used_of(prefix, name)
if limit.most > 0 and running + slots >= limit.most then return {'busy', 0, before} end
if limit.rate then
  local spent, left = take_tokens(limit.tokens, limit.rate, 0)
  local lacking = needed(limit, cost) - left
  if lacking > 0 then
    return {'wait', math.max(1, math.ceil(lacking * limit.rate.each / limit.rate.units)), before}
  end
  take_tokens(limit.tokens, limit.rate, cost, true)
end
keep()
return {'taken', 0, before}
