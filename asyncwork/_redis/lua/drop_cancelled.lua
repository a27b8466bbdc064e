-- Removes a cancelled job from the in-progress list, and its mark and its steps. Idempotent: if another pool has the
-- job by now, the mark stays, so that the job does not start there.
-- KEYS    in-progress, lock, lock_info, the hash of cancels, the hash of its steps; for a job with a record: that, its
--         stream, the set of finished jobs
-- ARGV    pool id, payload, the job's id; for a job with a record: id, seconds to keep the record, seconds to keep the
--         stream (0 if it has none), whether it is listed among the finished jobs (1 or 0), the fields of the record
--         with their values
-- Returns 1 if it was removed, else 0.
-- include sync_share
-- include write_end
if redis.call('lrem', KEYS[1], -1, ARGV[2]) == 0 then
  return 0
end
sync_share(KEYS[1], KEYS[2], KEYS[3], ARGV[1])
-- pcall: the key may hold another type by now.
redis.pcall('hdel', KEYS[4], ARGV[3])
redis.call('unlink', KEYS[5])
if KEYS[6] then
  write_end(KEYS[6], KEYS[7], KEYS[8], ARGV[4], ARGV[5], ARGV[6], ARGV[7], {unpack(ARGV, 8)})
end
return 1
