-- Schedules a job unless its unique key is held.
-- KEYS    scheduled, unique key
-- ARGV    payload, what the key is to hold ('1', or the payload when a key map was given), seconds until it expires,
--         when the job is due (epoch seconds)
-- Returns 1 if it was scheduled, 0 if it is a duplicate: then the key takes the new value and lives on.
-- The set is written first: where that fails, no key is left that would keep the job out.
local new = redis.call('exists', KEYS[2]) == 0
if new then
  redis.call('zadd', KEYS[1], ARGV[4], ARGV[1])
end
redis.call('set', KEYS[2], ARGV[2], 'EX', ARGV[3])
return new and 1 or 0
