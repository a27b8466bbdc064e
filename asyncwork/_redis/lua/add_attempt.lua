-- Shared by scripts with `-- include add_attempt`: writes an attempt to the record of a job that runs again. Programs
-- that wait for the job wait on.
-- fields: {name, value, …}.
-- include trim_attempts
local function add_attempt(record, seconds, fields)
  -- pcall: a key of another type must not keep the job from running again.
  if type(redis.pcall('hset', record, unpack(fields))) ~= 'table' then
    if redis.call('ttl', record) < tonumber(seconds) then
      redis.call('expire', record, seconds)
    end
    trim_attempts(record)
  end
end
