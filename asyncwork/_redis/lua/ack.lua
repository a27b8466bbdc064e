-- Removes finished jobs of one queue from the in-progress list. Idempotent.
-- The marks of jobs that were to be cancelled are removed with them, because the program that cancels does not
-- know whether a job ends before its pool has read the mark.
-- KEYS    in-progress, lock, lock_info, the hash of cancels
-- ARGV    pool id, payload …
-- Returns how many were in progress here. The search begins at the tail, where the oldest are.
-- include sync_share
local removed = 0
local are_marked = redis.call('exists', KEYS[4]) == 1
for i = 2, #ARGV do
  local found = redis.call('lrem', KEYS[1], -1, ARGV[i])
  removed = removed + found
  if are_marked and found == 1 then
    -- Decoded, because an argument may be the id of another job. Marks are rare.
    local is_job, job = pcall(cjson.decode, ARGV[i])
    if is_job and type(job) == 'table' and type(job.id) == 'string' then
      -- pcall: the key may hold another type.
      redis.pcall('hdel', KEYS[4], job.id)
    end
  end
end
if removed > 0 then
  sync_share(KEYS[1], KEYS[2], KEYS[3], ARGV[1])
end
return removed
