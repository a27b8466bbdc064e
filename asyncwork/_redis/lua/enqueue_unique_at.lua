-- Schedules a job unless its unique key is held.
-- KEYS    scheduled, unique key
-- ARGV    payload, seconds until the key expires, what the key is to hold in three parts: up to where the id of the job
--         that waits stands, the job's own id, and what comes behind, which is empty for a job without a key map; when the
--         job is due (epoch seconds)
-- Returns 1 if it was scheduled, 0 if it is a duplicate.
-- The set is written first: where that fails, no key is left that would keep the job out.
-- include pass_on
local held = redis.pcall('get', KEYS[2])
if type(held) == 'string' then
  pass_on(KEYS[2], held, ARGV[2], ARGV[3], ARGV[5])
  return 0
end
-- A key that is no string holds nothing.
redis.call('zadd', KEYS[1], ARGV[6], ARGV[1])
redis.call('set', KEYS[2], ARGV[3] .. ARGV[4] .. ARGV[5], 'EX', ARGV[2])
return 1
