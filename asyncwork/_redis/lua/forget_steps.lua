-- Shared by scripts with `-- include forget_steps`: has the hash of a job's steps expire, because the job was deleted.
-- seconds: for how long the job can be restored; 0 if not at all.
local function forget_steps(steps, seconds)
  if seconds == 0 then
    -- UNLINK, because the values may be many and long.
    redis.call('unlink', steps)
  elseif redis.call('exists', steps) == 1 then
    -- pcall: a key of another type only expires. The field keeps events from being sent to the job.
    redis.pcall('hset', steps, 'deleted', 1)
    redis.call('expire', steps, seconds)
  end
end
