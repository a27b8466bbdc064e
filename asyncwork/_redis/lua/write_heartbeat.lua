-- Writes a pool's heartbeat, and tells its job names again: somebody may have deleted them. Where the pool was not known,
-- Redis may have come back without its data: caps that are missing are written again. A cap that is there stays: somebody
-- may have set it by hand.
-- KEYS    worker_pools, the pool's heartbeat, known_jobs, the hash of crashes, the set of what was counted there when this
--         pool was considered dead, max_concurrency of each capped job name …
-- ARGV    pool id, 1 if it has beaten before, the field among the crashes that tells how far the crashes were counted, how
--         many job names follow, job name, …, the caps in the order of their keys, …, field, value, …
-- Returns 1 if the pool was known before, 0 if not, or if it was considered dead: then the crashes that were counted for
--         that are taken back, and the field `reaped` tells the pool to claim its jobs.
-- include even_if_full
-- include of_kind
even_if_full(KEYS[1])
of_kind('set', KEYS[1])
of_kind('hash', KEYS[2])
of_kind('set', KEYS[3])
local names, caps = tonumber(ARGV[4]), #KEYS - 5
for i = 5, 4 + names do
  redis.call('sadd', KEYS[3], ARGV[i])
end
local known = redis.call('sadd', KEYS[1], ARGV[1]) == 0
redis.call('hset', KEYS[2], unpack(ARGV, 5 + names + caps))
if not known then
  for i = 1, caps do
    redis.call('set', KEYS[5 + i], ARGV[4 + names + i], 'NX')
  end
end
-- Whole seconds do not tell beats apart that come sooner.
if type(redis.pcall('hincrby', KEYS[2], 'beats', 1)) == 'table' then
  redis.call('hset', KEYS[2], 'beats', 1)
end
if redis.call('exists', KEYS[5]) == 1 then
  known = false
  -- pcall: keys of a wrong type count nothing.
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
return known and 1 or 0
