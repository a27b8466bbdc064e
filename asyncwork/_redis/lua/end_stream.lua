-- Shared by scripts with `-- include end_stream`: writes the end of a job to its stream, as the last entry. To be
-- called once for each end of a job, by the script that takes it from where it was. The entries of a job that had
-- ended, and was then requeued, are removed before that.
local function end_stream(stream, state, seconds)
  -- pcall: a key of another type must not keep the job from ending.
  local last = redis.pcall('xrevrange', stream, '+', '-', 'COUNT', 1)
  if last.err or (last[1] and last[1][2][1] == 'end') then
    redis.call('del', stream)
  end
  redis.call('xadd', stream, 'MAXLEN', '~', 10000, '*', 'end', state)
  redis.call('expire', stream, seconds)
end
