-- Renews the heartbeat of a pool that cannot write its own, because a handler holds the GIL. Its process is known to
-- live. A heartbeat that is gone stays gone: the pool has left, or was considered dead.
-- KEYS    worker_pools, the pool's heartbeat
-- ARGV    pool id, epoch seconds
-- Returns 1 if it was renewed, else 0.
-- include allow_when_oom
allow_when_oom(KEYS[1])
-- pcall: keys of another type hold no pool.
local registered = redis.pcall('sismember', KEYS[1], ARGV[1])
local heartbeat_at = redis.pcall('hget', KEYS[2], 'heartbeat_at')
if registered ~= 1 or type(heartbeat_at) ~= 'string' then
  return 0
end
redis.call('hset', KEYS[2], 'heartbeat_at', ARGV[2])
-- heartbeat_at is in whole seconds, which do not distinguish heartbeats that come sooner.
redis.pcall('hincrby', KEYS[2], 'beats', 1)
return 1
