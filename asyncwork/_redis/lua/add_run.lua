-- Shared by scripts with `-- include add_run`: adds a run of a periodic job to its last runs. 100 are kept, for 400
-- days after the newest. pcall: a key of another type must not keep a job from its queue.
local function add_run(runs, at, run)
  if type(redis.pcall('zadd', runs, at, run)) == 'number' then
    redis.call('zremrangebyrank', runs, 0, -101)
    redis.call('expire', runs, 34560000)
  end
end
