-- Takes finished jobs of one queue off the in-progress list, where the oldest are at the tail.
-- KEYS    in-progress, lock, lock_info
-- ARGV    pool id, payload …
-- Returns how many were there.
local found = 0
for i = 2, #ARGV do
  found = found + redis.call('lrem', KEYS[1], -1, ARGV[i])
end
redis.call('decrby', KEYS[2], found)
redis.call('hincrby', KEYS[3], ARGV[1], -found)
return found
