-- Moves a payload that is no job from the in-progress list to the quarantine. Idempotent.
-- KEYS    in-progress, lock, lock_info, quarantine
-- ARGV    pool id, payload, record: JSON that holds the payload and what is wrong with it
-- Returns 1 if it was moved, else 0.
-- include square
-- include even_if_full
even_if_full(KEYS[1])
if not redis.call('lpos', KEYS[1], ARGV[2]) then
  return 0
end
redis.call('lpush', KEYS[4], ARGV[3])
redis.call('lrem', KEYS[1], 1, ARGV[2])
square(KEYS[1], KEYS[2], KEYS[3], ARGV[1])
return 1
