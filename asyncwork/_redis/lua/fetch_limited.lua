-- Takes up to a number of jobs from queues as `fetch` does. Some of the queues have a rate: each of their jobs that is
-- taken takes a token, after all other checks, and as many tokens as it costs of each limit that its name shares with
-- others. A job that is requeued does not return its tokens. One that costs more than the burst of a limit starts when
-- all tokens are there, and the next ones wait for those that it owes.
-- KEYS    the hash of crashes, the hash of cancels, look_ahead_paused, the hash of rates, then for each queue: queue,
--         in-progress, paused, lock, lock_info, max_concurrency, the state of its rate
-- ARGV    pool id, how many jobs are wanted, 1 if the pool looks ahead, how many of these jobs can begin at once, then
--         for each queue: the job name if it may have a rate, or ''
-- Returns {taken, closed, crashes, paused, opens}. The first four are as `fetch` returns them. opens: {number of a queue
--         that may be read again, in how many microseconds, …}: the next token comes then, or its rest ends. 0 if jobs
--         with a token were left, because they could not begin at once.
-- include sync_share
-- include max_concurrency
-- include crashes_of
-- include allow_when_oom
-- include rate
-- include shared_limits
-- include take_limited
if #KEYS > 4 then allow_when_oom(KEYS[6]) end
local failed = take_limited()
if failed then return failed end
return {taken, closed, crashes, ARGV[3] == '1' and redis.call('exists', KEYS[3]) or 0, opens}
