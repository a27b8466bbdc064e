-- Shared by scripts with `-- include keep_steps`: keeps the hash of a job's steps for at least some seconds from now.
local function keep_steps(steps, seconds)
  if redis.call('ttl', steps) < tonumber(seconds) then
    redis.call('expire', steps, seconds)
  end
end
