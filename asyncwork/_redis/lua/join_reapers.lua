-- Makes a pool one of the active reapers of its namespace, or lets it stay one, unless enough others are active that
-- find a dead pool at least as soon.
-- KEYS    the hash of the active reapers
-- ARGV    pool id, seconds until the pool counts as inactive unless it calls this again, seconds after which it finds a
--         dead pool, how many may be active
-- Returns 1 if the pool is active, else 0.
-- include allow_when_oom
-- include delete_if_wrong_type
local pool, delay = ARGV[1], tonumber(ARGV[3])
local time = redis.call('time')
local now = time[1] + time[2] / 1e6
local others, mine, gone = 0, false, {}
-- pcall: a key of another type is replaced below.
local found = redis.pcall('hgetall', KEYS[1])
for i = 1, found.err and 0 or #found, 2 do
  local at, seconds, its_delay = string.match(found[i + 1], '^(%d+%.%d+) (%d+%.%d+) (%d+%.%d+)$')
  -- A time ahead is from when Redis's clock was wrong, or from another server.
  local age = at and now - at
  if not at or age < 0 or age > tonumber(seconds) then
    gone[#gone + 1] = found[i]
  elseif found[i] == pool then
    mine = true
  elseif tonumber(its_delay) <= delay then
    others = others + 1
  end
end
if others >= tonumber(ARGV[4]) then
  if mine then
    redis.call('hdel', KEYS[1], pool)
  end
  return 0
end
allow_when_oom(KEYS[1])
delete_if_wrong_type('hash', KEYS[1])
if #gone > 0 then
  redis.call('hdel', KEYS[1], unpack(gone))
end
redis.call('hset', KEYS[1], pool, string.format('%d.%06d %s %s', time[1], time[2], ARGV[2], ARGV[3]))
redis.call('expire', KEYS[1], math.ceil(math.min(ARGV[2], 86400)))
return 1
