-- Counts a crash against jobs that ran when their pool died; once for a pool, whoever of the others finds it dead.
-- KEYS    the hash of crashes, the pool's heartbeat, the set of what is counted here when the pool is judged by its
--         heartbeat: should it beat again, it has not crashed, and that is taken back
-- ARGV    the field that tells how far that was done, how far it is done by this call, the heartbeat_at by which the pool
--         was judged ('' where it has none, '*' for any), seconds to keep the counts, then the SHA-1 of each payload, in hex
-- Returns how many were counted: none when it was done before, or when the pool has beaten meanwhile.
-- pcall: what is no hash tells no time.
local beat = redis.pcall('hget', KEYS[2], 'heartbeat_at')
if ARGV[3] ~= '*' and (type(beat) == 'string' and beat or '') ~= ARGV[3] then
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
