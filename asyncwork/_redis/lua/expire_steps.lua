-- Has the steps of jobs expire, because the jobs were deleted or are nowhere; or keeps those of jobs that were restored.
-- KEYS    the hash of the steps of each job
-- ARGV    seconds to keep them, 0 to delete them now; 1 if the jobs are gone, 0 if they are there again
-- Returns how many there were.
local found = 0
for _, key in ipairs(KEYS) do
  if redis.call('exists', key) == 1 then
    found = found + 1
    -- pcall: a key of another type only expires.
    if ARGV[2] == '1' then
      redis.pcall('hset', key, 'deleted', 1)
    else
      redis.pcall('hdel', key, 'deleted')
    end
    if ARGV[1] == '0' then
      redis.call('unlink', key)
    else
      redis.call('expire', key, ARGV[1])
    end
  end
end
return found
