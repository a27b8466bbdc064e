-- Admits the job that a blocking pop has just moved to the in-progress list. It is sent right behind the pop, before
-- the reply, so that the job may start when the reply comes. If there was no job, it can only correct a wrong share.
-- KEYS    queue, in-progress, paused, lock, lock_info, max_concurrency, the hash of crashes, the hash of cancels
-- ARGV    pool id
-- Returns {open, waiting}. open: 1 if the job may start; 0 if the queue is paused or has a concurrency limit, or if any
--         crashes or cancels are recorded, because then the job must be checked by `admit`. waiting: how many jobs are left in the
--         queue.
-- include sync_share
-- include max_concurrency
-- include allow_when_oom
allow_when_oom(KEYS[2])
local inprogress, lock, lock_info, pool = KEYS[2], KEYS[4], KEYS[5], ARGV[1]
local open = max_concurrency(KEYS[6]) <= 0 and redis.call('exists', KEYS[3], KEYS[7], KEYS[8]) == 0
if open then
  sync_share(inprogress, lock, lock_info, pool)
end
return {open and 1 or 0, redis.call('llen', KEYS[1])}
