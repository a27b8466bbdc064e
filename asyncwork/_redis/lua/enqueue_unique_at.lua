-- Schedules a job unless its unique key exists.
-- KEYS    scheduled, unique key, the hash of counted duplicates
-- ARGV    payload, seconds until the key expires, the value of the key in three parts: what comes before the id of the
--         waiting job, that id, and what comes after it, which is empty for a job without a key map; when the job is
--         due (epoch seconds), the job name
-- Returns 1 if it was scheduled; for a duplicate the end of the key's value, which names the waiting job.
-- The set is written first: if that fails, no key is left that would keep the job out.
-- include record_duplicate
-- include count_duplicate
local value = redis.pcall('get', KEYS[2])
if type(value) == 'string' then
  record_duplicate(KEYS[2], value, ARGV[2], ARGV[3], ARGV[5])
  count_duplicate(KEYS[3], ARGV[7], ARGV[5] ~= '' and 'replaced' or 'dropped')
  return string.sub(value, -200)
end
-- A key that is not a string is overwritten.
redis.call('zadd', KEYS[1], ARGV[6], ARGV[1])
redis.call('set', KEYS[2], ARGV[3] .. ARGV[4] .. ARGV[5], 'EX', ARGV[2])
return 1
