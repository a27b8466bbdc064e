-- Frees the unique key of a job that is about to start. When the key holds a newer job (it was enqueued by key with
-- other arguments meanwhile), that one takes the place of the popped payload in the in-progress list, in one step: a
-- crash at any moment leaves one of the two, and after this the newer.
-- KEYS    in-progress, then the unique key, in each way it may be spelled
-- ARGV    payload as it was popped
-- Returns the newer job's payload, or nil when the popped one is to run.
local newest
for i = 2, #KEYS do
  local held = redis.pcall('get', KEYS[i])
  if type(held) == 'string' then
    redis.call('del', KEYS[i])
    newest = newest or held
  end
end
if not newest or newest == '1' or newest == ARGV[1] then
  return nil
end
local readable, job = pcall(cjson.decode, newest)
if not readable or type(job) ~= 'table' or not redis.call('lpos', KEYS[1], ARGV[1]) then
  return nil
end
redis.call('lpush', KEYS[1], newest)
redis.call('lrem', KEYS[1], 1, ARGV[1])
return newest
