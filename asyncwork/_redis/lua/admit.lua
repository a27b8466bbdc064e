-- Decides on a job that a blocking pop moved to the in-progress list: it is admitted, or goes back to the front of its
-- queue.
-- KEYS    queue, in-progress, paused, lock, lock_info, max_concurrency, the hash of crashes, the hash of cancels
-- ARGV    pool id, payload
-- Returns {verdict, waiting, crashes}. verdict: 1 admitted; 0 requeued, because the queue is paused or at its
--         concurrency limit; -1 not in progress here any more, because another pool's reaper requeued it. waiting: how
--         many jobs are left in the queue. crashes: how many times the job was running when a process died, as
--         `crashes_of` counts them.
-- include sync_share
-- include max_concurrency
-- include crashes_of
-- include allow_when_oom
allow_when_oom(KEYS[2])
local queue, inprogress, lock, lock_info = KEYS[1], KEYS[2], KEYS[4], KEYS[5]
local pool, payload = ARGV[1], ARGV[2]
if not redis.call('lpos', inprogress, payload) then
  return {-1, redis.call('llen', queue), 0}
end
local open = redis.call('exists', KEYS[3]) == 0
local limit = max_concurrency(KEYS[6])
if open and limit > 0 then
  open = is_within(limit, inprogress, lock_info, pool)
end
if not open then
  redis.call('rpush', queue, payload)
  redis.call('lrem', inprogress, 1, payload)
end
sync_share(inprogress, lock, lock_info, pool)
return {open and 1 or 0, redis.call('llen', queue), crashes_of(payload, KEYS[7], KEYS[8])}
