-- Writes a pool's heartbeat.
-- KEYS    worker_pools, the pool's heartbeat
-- ARGV    pool id, field, value, …
-- Returns 1 if the pool was known before, else 0.
-- include even_if_full
even_if_full(KEYS[1])
local known = redis.call('sadd', KEYS[1], ARGV[1]) == 0
redis.call('hset', KEYS[2], unpack(ARGV, 2))
return known and 1 or 0
