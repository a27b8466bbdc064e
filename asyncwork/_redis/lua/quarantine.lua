-- Moves a payload that is not a job from the in-progress list to the quarantine. Idempotent.
-- KEYS    in-progress, lock, lock_info, quarantine
-- ARGV    pool id, payload, record: JSON with the payload and the reason
-- Returns 1 if it was moved, else 0.
-- include sync_share
-- include allow_when_oom
allow_when_oom(KEYS[1])
if not redis.call('lpos', KEYS[1], ARGV[2]) then
  return 0
end
redis.call('lpush', KEYS[4], ARGV[3])
redis.call('lrem', KEYS[1], 1, ARGV[2])
sync_share(KEYS[1], KEYS[2], KEYS[3], ARGV[1])
return 1
