-- Moves a job from the in-progress list to a sorted set (retry, scheduled or dead) with a new payload. Idempotent: a
-- job that is not in progress here any more is not moved, because then another pool has it.
-- KEYS    in-progress, lock, lock_info, sorted set; for a job with a record: that, its stream, the set of finished
--         jobs; for a job that frees the key that it holds: hold, scheduled, queue
-- ARGV    pool id, payload as it was taken, score (epoch seconds), new payload, the id of a job that frees the key that
--         it holds ('' for another); for a job with a record: id, seconds to
--         keep the record, seconds to keep the stream (0 if it has none), whether it is listed among the finished jobs
--         (1 or 0), the fields of the record with their values
-- Returns 1 if it was moved, else 0. The set is written first: an error there leaves the job in progress.
-- include sync_share
-- include write_end
-- include free_hold
-- include allow_when_oom
allow_when_oom(KEYS[1])
if not redis.call('lpos', KEYS[1], ARGV[2], 'RANK', -1) then
  return 0
end
redis.call('zadd', KEYS[4], ARGV[3], ARGV[4])
redis.call('lrem', KEYS[1], -1, ARGV[2])
sync_share(KEYS[1], KEYS[2], KEYS[3], ARGV[1])
if ARGV[5] ~= '' then
  free_hold(KEYS[#KEYS - 2], ARGV[5], KEYS[#KEYS - 1], KEYS[#KEYS])
end
if ARGV[6] then
  write_end(KEYS[5], KEYS[6], KEYS[7], ARGV[6], ARGV[7], ARGV[8], ARGV[9], {unpack(ARGV, 10)})
end
return 1
