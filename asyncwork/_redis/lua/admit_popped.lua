-- Admits the job that a blocking pop has just moved to the in-progress list. It is sent right behind the pop, before
-- the reply, so that the job may start when the reply comes. If there was no job, it can only correct a wrong share,
-- and its reply is ignored.
-- KEYS    queue, in-progress, paused, lock, lock_info, max_concurrency, the hash of crashes, the hash of cancels
-- ARGV    pool id
-- Returns {open, waiting}. open: 1 if the job may start; 0 if the queue is paused or has a concurrency limit, or if any
--         crashes or cancels are recorded, because then the job must be checked by `admit`. waiting: how many jobs are
--         left in the queue.
-- include sync_share
-- include max_concurrency
-- include allow_when_oom
local inprogress, lock, lock_info, pool = KEYS[2], KEYS[4], KEYS[5], ARGV[1]
-- The pops of an idle pool end without a job again and again. Then there is nothing to admit, and nothing to correct.
-- pcall: keys may be of another type.
if redis.pcall('llen', inprogress) == 0 and (tonumber(redis.pcall('hget', lock_info, pool)) or 0) == 0 then
  return {0, 0}
end
allow_when_oom(inprogress)
local open = max_concurrency(KEYS[6]) <= 0 and redis.call('exists', KEYS[3], KEYS[7], KEYS[8]) == 0
if open then
  sync_share(inprogress, lock, lock_info, pool)
end
return {open and 1 or 0, redis.call('llen', KEYS[1])}
