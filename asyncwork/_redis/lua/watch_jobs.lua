-- Reads the records of jobs, and has a process woken when those that have not ended do.
-- KEYS    the hash of the job names whose results are kept, then the record of each job
-- ARGV    the channel of the process, seconds after which it is not woken any more, then the name of each job, '' if it
--         is not known
-- Returns for each job its fields and their values if it has ended; 0 if it has not; -1 if no results of its name are
--         kept.
local found = {}
for i = 2, #KEYS do
  -- pcall: a key of another type must not keep others from being read. It is replaced when its job ends.
  local state = redis.pcall('hmget', KEYS[i], 'state', 'alias')
  if state.err then
    found[i - 1] = 0
  elseif state[1] or state[2] then
    found[i - 1] = redis.call('hgetall', KEYS[i])
  elseif ARGV[i + 1] ~= '' and redis.pcall('hexists', KEYS[1], ARGV[i + 1]) == 0 then
    found[i - 1] = -1
  else
    redis.call('hset', KEYS[i], 'wait:' .. ARGV[1], '1')
    -- It may have to be kept longer, for the attempts in it.
    if redis.call('ttl', KEYS[i]) < tonumber(ARGV[2]) then
      redis.call('expire', KEYS[i], ARGV[2])
    end
    found[i - 1] = 0
  end
end
return found
