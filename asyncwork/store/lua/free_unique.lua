-- Frees the unique key of a job that is about to start. When the key holds a newer job (it was enqueued by key with
-- other arguments meanwhile), that one takes the place of the popped payload in the in-progress list, in one step: a
-- crash at any moment leaves one of the two, and after this the newer.
-- KEYS    unique key, in-progress
-- ARGV    payload as it was popped
-- Returns the newer job's payload, or nil when the popped one is to run.
local newest = redis.pcall('get', KEYS[1])
if not newest or type(newest) == 'table' then
  return nil
end
redis.call('del', KEYS[1])
if newest == '1' or newest == ARGV[1] then
  return nil
end
local readable, job = pcall(cjson.decode, newest)
if not readable or type(job) ~= 'table' or not redis.call('lpos', KEYS[2], ARGV[1]) then
  return nil
end
redis.call('lpush', KEYS[2], newest)
redis.call('lrem', KEYS[2], 1, ARGV[1])
return newest
