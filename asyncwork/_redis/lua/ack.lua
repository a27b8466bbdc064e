-- Takes finished jobs of one queue off the in-progress list. Idempotent.
-- KEYS    in-progress, lock, lock_info
-- ARGV    pool id, payload …
-- Returns how many were really in progress here. The oldest are at the tail, so the search begins there.
-- include square
local removed = 0
for i = 2, #ARGV do
  removed = removed + redis.call('lrem', KEYS[1], -1, ARGV[i])
end
if removed > 0 then
  square(KEYS[1], KEYS[2], KEYS[3], ARGV[1])
end
return removed
