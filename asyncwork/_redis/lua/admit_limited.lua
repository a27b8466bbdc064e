-- Decides on the job that a blocking pop has just moved to the in-progress list from a queue that may have a rate: moves
-- it to the front of its queue, and takes it from there as `fetch_limited` does, if it may start now. It is sent right
-- behind the pop, before the reply.
-- A pop may have ended without a job, so the job is known by this: it is the newest one of the list, and the only one that
-- this pool's share of the lock does not count. Where that is not certain, nothing is changed.
-- KEYS    as those of `fetch_limited`, with one queue
-- ARGV    pool id, 1, 0, 1, the job name, as those of `fetch_limited`
-- Returns {} if it is not certain that the pop has taken a job, and which. Otherwise {taken, closed, crashes, waiting,
--         opens}, as `fetch_limited` returns them, but for waiting: how many jobs are left in the queue. The job that is
--         not in `taken` is at the front of its queue.
-- include sync_share
-- include max_concurrency
-- include crashes_of
-- include allow_when_oom
-- include rate
-- include shared_limits
-- include take_limited
local queue, inprogress, lock_info = KEYS[5], KEYS[6], KEYS[9]
-- pcall: keys may be of another type. A share that was lost says nothing about the jobs in progress.
local length, share = redis.pcall('llen', inprogress), redis.pcall('hget', lock_info, pool)
local counted = type(share) == 'string' and string.match(share, '^%d+$') and tonumber(share)
if not counted or length ~= counted + 1 then return {} end
allow_when_oom(inprogress)
if type(redis.pcall('lmove', inprogress, queue, 'LEFT', 'RIGHT')) ~= 'string' then return {} end
local failed = take_limited()
if failed then return failed end
return {taken, closed, crashes, redis.call('llen', queue), opens}
