-- Enqueues a job unless its unique key exists.
-- KEYS    queue, unique key, the hash of counted duplicates; if the queue may have a limit: the hash of limits that were
--         set at run time
-- ARGV    payload, seconds until the key expires, the value of the key in three parts: what comes before the id of the
--         waiting job, that id, and what comes after it, which is empty for a job without a key map;
--         1 if the job goes to the front of the queue, the job name; if the queue may have a limit: the limit that the
--         enqueuer has (0 for none)
-- Returns 1 if it was enqueued; for a duplicate the end of the key's value, which names the waiting job;
--         {0, waiting, limit} if so many wait that the limit allows no more.
-- The push comes first: if it fails, no key is left that would keep the job out.
-- include record_duplicate
-- include max_waiting
-- include count_duplicate
local value = redis.pcall('get', KEYS[2])
if type(value) == 'string' then
  record_duplicate(KEYS[2], value, ARGV[2], ARGV[3], ARGV[5])
  count_duplicate(KEYS[3], ARGV[7], ARGV[5] ~= '' and 'replaced' or 'dropped')
  return string.sub(value, -200)
end
local refused = refusal(KEYS[4], ARGV[7], ARGV[8], KEYS[1])
if refused then
  return refused
end
-- A key that is not a string is overwritten.
redis.call(ARGV[6] == '1' and 'rpush' or 'lpush', KEYS[1], ARGV[1])
redis.call('set', KEYS[2], ARGV[3] .. ARGV[4] .. ARGV[5], 'EX', ARGV[2])
return 1
