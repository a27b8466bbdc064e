-- Writes a pool's heartbeat and registers its job names again, because they may have been deleted. If the pool was not
-- registered, Redis may have lost its data, so missing concurrency limits are written again. An existing one stays,
-- because an operator may have set it.
-- KEYS    worker_pools, the pool's heartbeat, known_jobs, the hash of crashes, the set of crashes recorded when this
--         pool was considered dead, max_concurrency of each job name that has a limit …
-- ARGV    pool id, 1 if it has written a heartbeat before, the field in the hash of crashes for how far the pool's
--         crash was recorded, how many job names follow, job name, …, the concurrency limits in the order of their
--         keys, …, field, value, …
-- Returns {known, now, state, concurrency}. known: 1 if the pool was registered, 0 if not or if it was considered dead.
--         In the latter case the crashes recorded for that are taken back, and the field `reaped` makes the pool claim
--         its jobs. now: epoch seconds with fraction, as text. state, concurrency: what an operator has requested, each
--         as JSON, or nil.
-- include allow_when_oom
-- include delete_if_wrong_type
allow_when_oom(KEYS[1])
delete_if_wrong_type('set', KEYS[1])
delete_if_wrong_type('hash', KEYS[2])
delete_if_wrong_type('set', KEYS[3])
local names, limits = tonumber(ARGV[4]), #KEYS - 5
-- More would not fit on Lua's stack.
for i = 5, 4 + names, 5000 do
  redis.call('sadd', KEYS[3], unpack(ARGV, i, math.min(i + 4999, 4 + names)))
end
local known = redis.call('sadd', KEYS[1], ARGV[1]) == 0
redis.call('hset', KEYS[2], unpack(ARGV, 5 + names + limits))
if not known then
  for i = 1, limits do
    redis.call('set', KEYS[5 + i], ARGV[4 + names + i], 'NX')
  end
end
-- heartbeat_at is in whole seconds, which do not distinguish heartbeats that come sooner.
if type(redis.pcall('hincrby', KEYS[2], 'beats', 1)) == 'table' then
  redis.call('hset', KEYS[2], 'beats', 1)
end
if redis.call('exists', KEYS[5]) == 1 then
  known = false
  -- pcall: keys of another type have no counts.
  local counted = redis.pcall('smembers', KEYS[5])
  for _, field in ipairs(counted.err and {} or counted) do
    local left = redis.pcall('hincrby', KEYS[4], field, -1)
    if type(left) == 'number' and left <= 0 then
      redis.call('hdel', KEYS[4], field)
    end
  end
  redis.pcall('hdel', KEYS[4], ARGV[3])
  redis.call('del', KEYS[5])
end
if ARGV[2] == '1' and not known then
  redis.call('hset', KEYS[2], 'reaped', 1)
end
local time, requested = redis.call('time'), redis.call('hmget', KEYS[2], 'requested', 'requested_concurrency')
return {known and 1 or 0, string.format('%d.%06d', time[1], time[2]), requested[1], requested[2]}
