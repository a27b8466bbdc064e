-- Remove finished jobs of one queue from the in-progress list. The oldest are at its tail.
-- KEYS    in-progress, lock, lock_info
-- ARGV    pool id, payload …
-- Returns the number of removed jobs.
local found = 0
for i = 2, #ARGV do
  found = found + redis.call('lrem', KEYS[1], -1, ARGV[i])
end
redis.call('decrby', KEYS[2], found)
redis.call('hincrby', KEYS[3], ARGV[1], -found)
return found
