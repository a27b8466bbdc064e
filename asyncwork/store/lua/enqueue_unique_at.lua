-- Schedules a job unless its unique key is held.
-- KEYS    scheduled, unique key
-- ARGV    payload, seconds until the key expires, what the key is to hold: '1'; or for a job with a key map, its payload
--         in three parts: up to where the id of the waiting job stands, its own id, and what comes behind; when the job
--         is due (epoch seconds)
-- Returns 1 if it was scheduled, 0 if it is a duplicate: then the key takes the new value and lives on.
-- The set is written first: where that fails, no key is left that would keep the job out.
-- include holding
local before = redis.pcall('get', KEYS[2])
-- A key that is no string holds nothing.
if type(before) ~= 'string' then
  redis.call('zadd', KEYS[1], ARGV[6], ARGV[1])
end
redis.call('set', KEYS[2], holding(ARGV[3], ARGV[4], ARGV[5], before), 'EX', ARGV[2])
return type(before) == 'string' and 0 or 1
