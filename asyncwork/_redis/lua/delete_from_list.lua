-- Deletes jobs from a list with their unique keys, and keeps the jobs for a while. A unique key that another job has
-- taken stays. The records of the jobs say how they have ended.
-- KEYS    list, list for the deleted jobs, scheduled, then the keys of each job that `free_deleted` needs …
-- ARGV    seconds to keep them (0: not at all), the state and the error for their records, then for each job what
--         `free_deleted` says, and how many elements are before it, which says from which end to search
-- Returns how many were there. They are kept as a list of payloads in the order of ARGV.
-- include free_deleted
local kept, gone = tonumber(ARGV[1]), 0
for i = 4, #ARGV, 12 do
  local near_head = 2 * tonumber(ARGV[i + 11]) < redis.call('llen', KEYS[1])
  if redis.call('lrem', KEYS[1], near_head and 1 or -1, ARGV[i]) > 0 then
    if kept > 0 then
      redis.call('rpush', KEYS[2], ARGV[i])
    end
    gone = gone + 1
    free_deleted(i, kept)
  end
end
if gone > 0 and kept > 0 then
  redis.call('expire', KEYS[2], kept)
end
return gone
