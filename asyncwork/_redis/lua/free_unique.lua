-- Starts a unique job: deletes its unique key if the job is still in progress here. If the key holds a newer job,
-- because that was enqueued by key with other arguments meanwhile, the newer one replaces the popped payload in the
-- in-progress list. This is one step: a crash at any moment leaves one of the two, and after it the newer one. A key
-- that another job has taken, because this job was started before and its key deleted then, stays. If the popped job
-- is to be cancelled, the newer one is, because a program that has enqueued it knows the id of the popped job alone.
-- KEYS    in-progress, the hash of cancels, the unique key in each possible spelling, the job's record if it has one
-- ARGV    payload as it was popped, the job's id, seconds to keep the record (0 if it has none), which then says that
--         the newer job has run instead
-- Returns {0} when the popped payload is not in progress here any more, because another pool has the job or an earlier
--         call replaced it: nothing is done, and the job must not run. {1} when it is to run. {1, payload} when the
--         newer job is to run instead.
-- include unique_owner
-- include end_record
if not redis.call('lpos', KEYS[1], ARGV[1]) then
  return {0}
end
local newest, newest_id
local kept = tonumber(ARGV[3])
for i = 3, kept > 0 and #KEYS - 1 or #KEYS do
  local value = redis.pcall('get', KEYS[i])
  if type(value) == 'string' and delete_unless_taken(KEYS[i], ARGV[2]) == 1 and string.sub(value, 1, 1) == '{' then
    local readable, job = pcall(cjson.decode, value)
    local id = readable and type(job['name']) == 'string' and job['id']
    -- cjson cannot read every text that a job may hold. A value that names a waiting job was written by asyncwork, so
    -- it is a job.
    if type(id) == 'string' and id ~= ARGV[2] or not readable and waiting_id(value) then
      newest, newest_id = value, type(id) == 'string' and id or waiting_id(value)
    end
  end
end
if not newest then
  return {1}
end
redis.call('lpush', KEYS[1], newest)
redis.call('lrem', KEYS[1], 1, ARGV[1])
-- pcall: the key may hold another type.
local mark = newest_id and redis.pcall('hget', KEYS[2], ARGV[2])
if type(mark) == 'string' then
  -- In this order, because a hash without fields loses its expiry.
  redis.call('hsetnx', KEYS[2], newest_id, mark)
  redis.call('hdel', KEYS[2], ARGV[2])
end
if kept > 0 then
  end_record(KEYS[#KEYS], ARGV[2], kept, {'alias', newest_id})
end
return {1, newest}
