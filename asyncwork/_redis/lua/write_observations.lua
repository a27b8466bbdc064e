-- Replaces the observations of a pool's workers; writes nothing if the pool has no heartbeat, because then it has left
-- and this call comes late.
-- KEYS    the pool's heartbeat, observation of each worker …
-- ARGV    seconds until an observation expires, then for each worker: how many arguments follow, field, value, …
-- Returns how many were written.
if redis.call('exists', KEYS[1]) == 0 then
  return 0
end
local at = 2
for i = 2, #KEYS do
  local fields = tonumber(ARGV[at])
  redis.call('del', KEYS[i])
  redis.call('hset', KEYS[i], unpack(ARGV, at + 1, at + fields))
  redis.call('expire', KEYS[i], ARGV[1])
  at = at + 1 + fields
end
return #KEYS - 1
