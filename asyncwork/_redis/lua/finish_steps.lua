-- Removes a job that has ended from the in-progress list, with its steps, and the mark of one that was to be cancelled.
-- Idempotent: if another pool has the job by now, that goes on with the steps.
-- KEYS    in-progress, lock, lock_info, the hash of cancels, the hash of the steps; for a job with a record: that, its
--         stream, the set of finished jobs; for a job that holds a key: hold, scheduled, queue
-- ARGV    pool id, payload, the job's id, the same for a job that holds a key ('' for another); for a job with a
--         record: id, seconds to keep the record, seconds to keep the stream (0 if it has none), whether it is listed
--         among the finished jobs (1 or 0), the fields of the record with their values
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
-- UNLINK, because the values may be many and long.
redis.call('unlink', KEYS[5])
-- pcall: the key may hold another type by now.
redis.pcall('hdel', KEYS[4], ARGV[3])
if ARGV[4] ~= '' then
  free_hold(KEYS[#KEYS - 2], ARGV[4], KEYS[#KEYS - 1], KEYS[#KEYS])
end
if ARGV[5] then
  write_end(KEYS[6], KEYS[7], KEYS[8], ARGV[5], ARGV[6], ARGV[7], ARGV[8], {unpack(ARGV, 9)})
end
return 1
