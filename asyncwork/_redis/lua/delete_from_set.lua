-- Deletes jobs from a sorted set with their unique keys, and keeps the jobs for a while. A unique key that another job
-- has taken stays. The records of the jobs say how they have ended.
-- KEYS    sorted set, list for the deleted jobs, scheduled, then the keys of each job that `free_deleted` needs …
-- ARGV    seconds to keep them (0: not at all), the state and the error for their records, then for each job what
--         `free_deleted` says
-- Returns how many were there. They are kept as a list of scores and payloads.
-- include free_deleted
local kept, gone = tonumber(ARGV[1]), 0
for i = 4, #ARGV, 11 do
  local score = redis.call('zscore', KEYS[1], ARGV[i])
  if score then
    if kept > 0 then
      redis.call('rpush', KEYS[2], score, ARGV[i])
    end
    gone = gone + redis.call('zrem', KEYS[1], ARGV[i])
    free_deleted(i, kept)
  end
end
if gone > 0 and kept > 0 then
  redis.call('expire', KEYS[2], kept)
end
return gone
