-- Shared by scripts with `-- include end_record`: writes how a job has ended to its record, and wakes the processes that
-- wait. A process that waits has a field in the record: 'wait:' and the name of its channel.
-- fields: {name, value, …}.
local function end_record(record, id, seconds, fields)
  -- Nearly all jobs end once, before a process waits for them.
  if redis.call('exists', record) == 0 then
    redis.call('hset', record, unpack(fields))
    redis.call('expire', record, seconds)
    return
  end
  -- pcall: a key of another type must not keep the job from ending. The job may have ended before, and was requeued by
  -- a program that knows no records.
  redis.pcall('hdel', record, 'result', 'problem', 'err', 'traceback', 'args', 'alias')
  if type(redis.pcall('hset', record, unpack(fields))) == 'table' then
    redis.call('del', record)
    redis.call('hset', record, unpack(fields))
  end
  redis.call('expire', record, seconds)
  for _, field in ipairs(redis.call('hkeys', record)) do
    if string.sub(field, 1, 5) == 'wait:' then
      redis.call('hdel', record, field)
      -- pcall: the user may not be allowed to publish. Then waiting processes read the record from time to time.
      redis.pcall('publish', string.sub(field, 6), id)
    end
  end
end
