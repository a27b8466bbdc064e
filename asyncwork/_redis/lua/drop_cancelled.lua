-- Removes a cancelled job from the in-progress list, and its mark. Idempotent: if another pool has the job by now, the
-- mark stays, so that the job does not start there.
-- KEYS    in-progress, lock, lock_info, the hash of cancels; the record and the stream of the job if it has one
-- ARGV    pool id, payload, the job's id; for those: the id, seconds to keep the record, seconds to keep the stream (0 if
--         it has none), the fields of the record with their values
-- Returns 1 if it was removed, else 0.
-- include sync_share
-- include write_end
if redis.call('lrem', KEYS[1], -1, ARGV[2]) == 0 then
  return 0
end
sync_share(KEYS[1], KEYS[2], KEYS[3], ARGV[1])
-- pcall: the key may hold another type by now.
redis.pcall('hdel', KEYS[4], ARGV[3])
if KEYS[5] then
  write_end(KEYS[5], KEYS[6], ARGV[4], ARGV[5], ARGV[6], {unpack(ARGV, 7)})
end
return 1
