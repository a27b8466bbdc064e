-- Moves a job from the in-progress list to a sorted set (retry, scheduled or dead) with a new payload. Idempotent: a
-- job that is not in progress here any more is not moved, because then another pool has it.
-- KEYS    in-progress, lock, lock_info, sorted set; the record and the stream of a job that has ended and has one
-- ARGV    pool id, payload as it was taken, score (epoch seconds), new payload; for those: id, seconds to keep
--         the record, seconds to keep the stream (0 if it has none), the fields of the record with their values
-- Returns 1 if it was moved, else 0. The set is written first: an error there leaves the job in progress.
-- include sync_share
-- include write_end
-- include allow_when_oom
allow_when_oom(KEYS[1])
if not redis.call('lpos', KEYS[1], ARGV[2], 'RANK', -1) then
  return 0
end
redis.call('zadd', KEYS[4], ARGV[3], ARGV[4])
redis.call('lrem', KEYS[1], -1, ARGV[2])
sync_share(KEYS[1], KEYS[2], KEYS[3], ARGV[1])
if KEYS[5] then
  write_end(KEYS[5], KEYS[6], ARGV[5], ARGV[6], ARGV[7], {unpack(ARGV, 8)})
end
return 1
