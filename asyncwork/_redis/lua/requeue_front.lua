-- Moves jobs from the in-progress list to the front of their queue. Idempotent.
-- KEYS    in-progress, lock, lock_info, queue
-- ARGV    pool id, payload …, the one to run first last
-- Returns how many were moved.
-- include sync_share
-- include allow_when_oom
allow_when_oom(KEYS[1])
local moved = 0
for i = 2, #ARGV do
  if redis.call('lpos', KEYS[1], ARGV[i]) then
    redis.call('rpush', KEYS[4], ARGV[i])
    moved = moved + redis.call('lrem', KEYS[1], 1, ARGV[i])
  end
end
sync_share(KEYS[1], KEYS[2], KEYS[3], ARGV[1])
return moved
