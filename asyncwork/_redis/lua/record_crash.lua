-- Counts a crash against jobs that were running when their pool died; once for each pool, however many others find it
-- dead.
-- KEYS    the hash of crashes, the pool's heartbeat, the set of the crashes counted by this call if the pool is
--         considered dead by its heartbeat: if it writes another one, it has not crashed, and these are taken back
-- ARGV    the field for how far the crash was recorded, how far it is by this call, the heartbeat_at by which the pool
--         was considered dead ('' if it has none, '*' for any), seconds to keep the counts, then the SHA-1 of each
--         payload, in hex
-- Returns how many were counted: none when this was done before, or when the pool has written a heartbeat meanwhile.
-- pcall: a key of another type has no heartbeat_at.
local heartbeat_at = redis.pcall('hget', KEYS[2], 'heartbeat_at')
if ARGV[3] ~= '*' and (type(heartbeat_at) == 'string' and heartbeat_at or '') ~= ARGV[3] then
  return 0
end
if (tonumber(redis.call('hget', KEYS[1], ARGV[1])) or 0) >= tonumber(ARGV[2]) then
  return 0
end
for i = 5, #ARGV do
  redis.call('hincrby', KEYS[1], ARGV[i], 1)
  if ARGV[3] ~= '*' then
    redis.call('sadd', KEYS[3], ARGV[i])
    redis.call('expire', KEYS[3], ARGV[4])
  end
end
redis.call('hset', KEYS[1], ARGV[1], ARGV[2])
redis.call('expire', KEYS[1], ARGV[4])
return #ARGV - 4
