-- Enqueues a job unless its unique key is held.
-- KEYS    queue, unique key
-- ARGV    payload, what the key is to hold ('1', or the payload when a key map was given), seconds until it expires
-- Returns 1 if it was enqueued, 0 if it is a duplicate: then the key takes the new value and lives on.
-- The push comes first: where it fails, no key is left that would keep the job out.
local new = redis.call('exists', KEYS[2]) == 0
if new then
  redis.call('lpush', KEYS[1], ARGV[1])
end
redis.call('set', KEYS[2], ARGV[2], 'EX', ARGV[3])
return new and 1 or 0
