-- Writes to the records of jobs that are nowhere that they were lost, and wakes the processes that wait. A
-- record that says how its job has ended, or which job runs in its place, stays as it is. A second call does nothing.
-- KEYS    the record of each job
-- ARGV    seconds to keep the records, the problem to write, then the id of each job
-- Returns how many records were written.
-- include end_record
local ended, now = 0, redis.call('time')[1]
for i = 1, #KEYS do
  -- pcall: a key of another type holds no waits.
  local found = redis.pcall('hmget', KEYS[i], 'state', 'alias')
  if not found.err and not found[1] and not found[2] and redis.call('exists', KEYS[i]) == 1 then
    end_record(KEYS[i], ARGV[i + 2], ARGV[1], {'state', 'lost', 'problem', ARGV[2], 'ended_at', now})
    ended = ended + 1
  end
end
return ended
