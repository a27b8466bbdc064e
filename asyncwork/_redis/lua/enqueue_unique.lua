-- Enqueues a job unless its unique key exists.
-- KEYS    queue, unique key
-- ARGV    payload, seconds until the key expires, the value of the key in three parts: what comes before the id of the
--         waiting job, that id, and what comes after it, which is empty for a job without a key map;
--         1 if the job goes to the front of the queue
-- Returns 1 if it was enqueued; for a duplicate the end of the key's value, which names the waiting job.
-- The push comes first: if it fails, no key is left that would keep the job out.
-- include record_duplicate
local value = redis.pcall('get', KEYS[2])
if type(value) == 'string' then
  record_duplicate(KEYS[2], value, ARGV[2], ARGV[3], ARGV[5])
  return string.sub(value, -200)
end
-- A key that is not a string is overwritten.
redis.call(ARGV[6] == '1' and 'rpush' or 'lpush', KEYS[1], ARGV[1])
redis.call('set', KEYS[2], ARGV[3] .. ARGV[4] .. ARGV[5], 'EX', ARGV[2])
return 1
