-- Removes finished jobs of one queue from the in-progress list. Idempotent.
-- KEYS    in-progress, lock, lock_info
-- ARGV    pool id, payload …
-- Returns how many were in progress here. The search begins at the tail, where the oldest are.
-- include sync_share
local removed = 0
for i = 2, #ARGV do
  removed = removed + redis.call('lrem', KEYS[1], -1, ARGV[i])
end
if removed > 0 then
  sync_share(KEYS[1], KEYS[2], KEYS[3], ARGV[1])
end
return removed
