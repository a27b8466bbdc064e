-- Moves a payload that is not a job from the in-progress list to the quarantine. Idempotent.
-- KEYS    in-progress, lock, lock_info, quarantine; the record of the job if it has one
-- ARGV    pool id, payload, entry: JSON with the payload and the reason; for the record: id, seconds to keep it, its
--         fields with their values
-- Returns 1 if it was moved, else 0.
-- include sync_share
-- include end_record
-- include allow_when_oom
allow_when_oom(KEYS[1])
if not redis.call('lpos', KEYS[1], ARGV[2]) then
  return 0
end
redis.call('lpush', KEYS[4], ARGV[3])
redis.call('lrem', KEYS[1], 1, ARGV[2])
sync_share(KEYS[1], KEYS[2], KEYS[3], ARGV[1])
if KEYS[5] then
  end_record(KEYS[5], ARGV[4], ARGV[5], {unpack(ARGV, 6)})
end
return 1
