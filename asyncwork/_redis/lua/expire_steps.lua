-- Has the steps of jobs expire that were deleted or are nowhere; or keeps those of jobs that were restored.
-- KEYS    the hash of the steps of each job
-- ARGV    seconds to keep them; 1 if the jobs are gone, 0 if they are there again
-- Returns how many there were.
-- include forget_steps
local found = 0
for _, key in ipairs(KEYS) do
  if redis.call('exists', key) == 1 then
    found = found + 1
    if ARGV[2] == '1' then
      forget_steps(key, tonumber(ARGV[1]))
    else
      -- pcall: a key of another type only expires.
      redis.pcall('hdel', key, 'deleted')
      redis.call('expire', key, ARGV[1])
    end
  end
end
return found
