-- Removes a job that has ended from the in-progress list, frees the key that it holds, and removes its mark if it was
-- to be cancelled. Idempotent: only the call that removes the job does the rest.
-- KEYS    in-progress, lock, lock_info, the hash of cancels, hold, scheduled, queue; for a job with a record: that, its
--         stream, the set of finished jobs
-- ARGV    pool id, payload, the job's id; for a job with a record: id, seconds to keep the record, seconds to keep the
--         stream (0 if it has none), whether it is listed among the finished jobs (1 or 0), the fields of the record
--         with their values
-- Returns 1 if it was removed, else 0.
-- include sync_share
-- include write_end
-- include free_hold
-- include allow_when_oom
allow_when_oom(KEYS[1])
if redis.call('lrem', KEYS[1], -1, ARGV[2]) == 0 then
  return 0
end
sync_share(KEYS[1], KEYS[2], KEYS[3], ARGV[1])
-- pcall: the key may hold another type.
redis.pcall('hdel', KEYS[4], ARGV[3])
free_hold(KEYS[5], ARGV[3], KEYS[6], KEYS[7])
if KEYS[8] then
  write_end(KEYS[8], KEYS[9], KEYS[10], ARGV[4], ARGV[5], ARGV[6], ARGV[7], {unpack(ARGV, 8)})
end
return 1
