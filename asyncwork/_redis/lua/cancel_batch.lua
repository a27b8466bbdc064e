-- Marks a batch that has not ended, so that none of its members starts. The first mark stays.
-- KEYS    the hash of cancels, the hash of the batch
-- ARGV    seconds to keep the mark, the id of the batch, JSON that says who has cancelled it, why and when
-- Returns 1 if it had not ended, else 0.
-- pcall: a key of another type is no batch.
local found = redis.pcall('hmget', KEYS[2], 'next', 'ended_at')
if not found[1] or found[2] then
  return 0
end
redis.call('hsetnx', KEYS[1], ARGV[2], ARGV[3])
redis.call('expire', KEYS[1], ARGV[1])
redis.call('hsetnx', KEYS[2], 'cancel', ARGV[3])
return 1
