-- Moves a job from the in-progress list to a sorted set (retry, scheduled or dead), written anew. Idempotent: what is
-- no longer in progress here is not moved, for then somebody else has it.
-- KEYS    in-progress, lock, lock_info, sorted set
-- ARGV    pool id, payload as it was taken, score (epoch seconds), payload as it is to be kept
-- Returns 1 if it was moved, else 0. The set is written first: an error there leaves the job in progress.
-- include square
-- include even_if_full
even_if_full(KEYS[1])
if not redis.call('lpos', KEYS[1], ARGV[2], 'RANK', -1) then
  return 0
end
redis.call('zadd', KEYS[4], ARGV[3], ARGV[4])
redis.call('lrem', KEYS[1], -1, ARGV[2])
square(KEYS[1], KEYS[2], KEYS[3], ARGV[1])
return 1
