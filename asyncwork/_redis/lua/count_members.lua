-- Counts members that the same transaction writes to a batch. If it was cancelled, they are to be cancelled, too, although
-- its mark went when it ended; and a batch that has ended goes on until these have. One that is gone stays so.
-- KEYS    the hash of cancels, the set of open batches, the hash of unique flows, five for the batch
-- ARGV    how many members, seconds to keep the mark, and the batch
-- Returns 1; -1 if the batch is gone, -3 if it was cancelled.
-- pcall: a key of another type must not keep a job from its queue.
local found = redis.call('hmget', KEYS[4], 'next', 'cancel', 'ended_at', 'created_at', 'unique')
if not found[1] then
  return -1
end
redis.call('hincrby', KEYS[4], 'total', ARGV[1])
redis.call('hincrby', KEYS[4], 'left', ARGV[1])
-- The doctor sees by it that the creator is alive.
redis.call('hset', KEYS[4], 'added_at', redis.call('time')[1])
local id = string.sub(KEYS[4], -24)
if found[2] and redis.pcall('hsetnx', KEYS[1], id, found[2]) == 1 then
  redis.call('expire', KEYS[1], ARGV[2])
end
if found[3] then
  redis.call('hdel', KEYS[4], 'ended_at')
  redis.pcall('zadd', KEYS[2], found[4], id)
  if found[5] then
    redis.pcall('hsetnx', KEYS[3], found[5], id)
  end
  for key = 4, 8 do
    redis.call('expire', KEYS[key], ARGV[3])
  end
end
return found[2] and -3 or 1
