-- Takes from a sorted set the entry by which a batch that has ended settles its member of another batch. Idempotent.
-- KEYS    the sorted set, scheduled, the hash of cancels, the set of open batches, the hash of unique flows, the hash of
--         the batch that has ended, five for the other batch
-- ARGV    the entry, the member's number in the other batch
-- Returns {taken, due}. taken: 1 if the entry was there, else 0. due: 1 if jobs are due now, else 0.
-- include settle_member
-- include allow_when_oom
allow_when_oom(KEYS[1])
if redis.call('zrem', KEYS[1], ARGV[1]) == 0 then
  return {0, 0}
end
-- pcall: a key of another type is not a batch. One that is gone had succeeded: the others are kept for much longer.
local found = redis.pcall('hmget', KEYS[6], 'failed', 'cancelled', 'incomplete')
local failed, cancelled = tonumber(found[1]) or 0, (tonumber(found[2]) or 0) + (tonumber(found[3]) or 0)
settle_member(7, ARGV[2], failed > 0 and 'failed' or cancelled > 0 and 'cancelled' or 'done')
return {1, end_batches(KEYS[2], KEYS[3], KEYS[4], KEYS[5])}
