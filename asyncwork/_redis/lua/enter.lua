-- Accounts for what a blocking pop has just put into the in-progress list. Sent behind the pop, before its answer is
-- known: so that a job may start when that comes. When there was none, all it may do is set a share right that drifted.
-- KEYS    queue, in-progress, paused, lock, lock_info, max_concurrency, the hash of crashes
-- ARGV    pool id
-- Returns {open, waiting}. open: 1 if the job may start; 0 if the queue is paused or has a cap, or if crashes are
--         remembered, so that somebody has to look at the job first. waiting: how many jobs are left in the queue.
-- include square
-- include even_if_full
even_if_full(KEYS[2])
local inprogress, lock, lock_info, pool = KEYS[2], KEYS[4], KEYS[5], ARGV[1]
local cap = tonumber(redis.pcall('get', KEYS[6])) or 0
local open = cap <= 0 and redis.call('exists', KEYS[3], KEYS[7]) == 0
if open then
  square(inprogress, lock, lock_info, pool)
end
return {open and 1 or 0, redis.call('llen', KEYS[1])}
