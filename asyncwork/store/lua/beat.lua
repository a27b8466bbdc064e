-- Writes a pool's heartbeat, and tells its job names again: somebody may have deleted them.
-- KEYS    worker_pools, the pool's heartbeat, known_jobs
-- ARGV    pool id, how many job names follow, job name, …, field, value, …
-- Returns 1 if the pool was known before, else 0.
-- include even_if_full
-- include of_kind
even_if_full(KEYS[1])
of_kind('set', KEYS[1])
of_kind('hash', KEYS[2])
of_kind('set', KEYS[3])
local names = tonumber(ARGV[2])
for i = 3, 2 + names do
  redis.call('sadd', KEYS[3], ARGV[i])
end
local known = redis.call('sadd', KEYS[1], ARGV[1]) == 0
redis.call('hset', KEYS[2], unpack(ARGV, 3 + names))
-- Whole seconds do not tell beats apart that come sooner.
if type(redis.pcall('hincrby', KEYS[2], 'beats', 1)) == 'table' then
  redis.call('hset', KEYS[2], 'beats', 1)
end
return known and 1 or 0
