-- Shared by scripts with `-- include write_end`: writes how a job has ended to its record and to its stream; or, if it
-- runs again, its attempt to its record.
-- finished: the sorted set of jobs that have ended, by the time of that.
-- record_seconds, stream_seconds: for how long the record and the stream are kept; 0 if the job has none.
-- listed: '1' if the job is listed in that set and its record has attempts, otherwise '0'.
-- fields: those of the record, {name, value, …}. The first is the state of a job that has ended.
-- include end_record
-- include end_stream
-- include add_attempt
local function write_end(record, stream, finished, id, record_seconds, stream_seconds, listed, fields)
  if fields[1] ~= 'state' then
    add_attempt(record, record_seconds, fields)
    return
  end
  if tonumber(record_seconds) > 0 then
    end_record(record, id, record_seconds, fields)
  end
  if tonumber(stream_seconds) > 0 then
    end_stream(stream, fields[2], stream_seconds)
  end
  if listed == '1' then
    trim_attempts(record)
    -- pcall: a key of another type must not keep the job from ending.
    if type(redis.pcall('zadd', finished, redis.call('time')[1], id)) == 'number' then
      redis.call('zremrangebyrank', finished, 0, -10001)
      if redis.call('ttl', finished) < tonumber(record_seconds) then
        redis.call('expire', finished, record_seconds)
      end
    end
  end
end
