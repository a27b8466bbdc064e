-- Frees the unique key of a job that is about to start. When the key holds a newer job (it was enqueued by key with
-- other arguments meanwhile), that one takes the place of the popped payload in the in-progress list, in one step: a
-- crash at any moment leaves one of the two, and after this the newer. A key that is another job's by now (this one was
-- started before, and let go of it then) is left alone; and so is that of a job that is no longer in progress here, for
-- whoever starts it next.
-- KEYS    in-progress, then the unique key, in each way it may be spelled
-- ARGV    payload as it was popped, the job's id
-- Returns the newer job's payload, or nil when the popped one is to run.
if not redis.call('lpos', KEYS[1], ARGV[1]) then
  return nil
end
local newest
for i = 2, #KEYS do
  local held = redis.pcall('get', KEYS[i])
  if type(held) == 'string' then
    local readable, job = pcall(cjson.decode, held)
    local is_job = readable and type(job) == 'table'
    local waiting = is_job and job['waiting']
    -- Where the waiting job is not told, as by gocraft/work, it is this one.
    if type(waiting) ~= 'string' or waiting == '' or waiting == ARGV[2] then
      redis.call('del', KEYS[i])
      if is_job and job['id'] ~= ARGV[2] then
        newest = held
      end
    end
  end
end
if not newest then
  return nil
end
redis.call('lpush', KEYS[1], newest)
redis.call('lrem', KEYS[1], 1, ARGV[1])
return newest
