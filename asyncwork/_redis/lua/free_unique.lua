-- Lets a unique job begin: frees its unique key, if the job is still in progress here. When the key holds a newer job (it
-- was enqueued by key with other arguments meanwhile), that one takes the place of the popped payload in the in-progress
-- list, in one step: a crash at any moment leaves one of the two, and after this the newer. A key that is another job's
-- by now (this one was started before, and let go of it then) is left alone.
-- KEYS    in-progress, then the unique key, in each way it may be spelled
-- ARGV    payload as it was popped, the job's id
-- Returns {0} when the popped payload is not in progress here any more: another pool has the job, or an earlier call has
--         put the newer one in its place; nothing is done then, and the job must not run. {1} when it is to run;
--         {1, payload} when that newer job is to run instead.
-- include owner
if not redis.call('lpos', KEYS[1], ARGV[1]) then
  return {0}
end
local newest
for i = 2, #KEYS do
  local held = redis.pcall('get', KEYS[i])
  if type(held) == 'string' and let_go(KEYS[i], ARGV[2]) == 1 and string.sub(held, 1, 1) == '{' then
    local readable, job = pcall(cjson.decode, held)
    local id = readable and type(job['name']) == 'string' and job['id']
    -- cjson cannot read every text that a job may hold. What tells of a job that waits, asyncwork wrote: it is a job.
    if type(id) == 'string' and id ~= ARGV[2] or not readable and waiting_of(held) then
      newest = held
    end
  end
end
if not newest then
  return {1}
end
redis.call('lpush', KEYS[1], newest)
redis.call('lrem', KEYS[1], 1, ARGV[1])
return {1, newest}
