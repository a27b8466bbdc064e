-- Take jobs from queues that are neither paused nor at their concurrency limit.
-- KEYS    of each queue: queue, in-progress, paused, lock, lock_info, max_concurrency
-- ARGV    pool id, the most jobs to take
-- Returns the payloads.
local jobs, left = {}, tonumber(ARGV[2])
for k = 1, #KEYS, 6 do
  if left == 0 then break end
  local most = left
  local cap = tonumber(redis.call('get', KEYS[k + 5])) or 0
  if cap > 0 then
    most = math.min(left, cap - (tonumber(redis.call('get', KEYS[k + 3])) or 0))
  end
  if redis.call('exists', KEYS[k + 2]) == 1 then
    most = 0
  end
  local before = #jobs
  for _ = 1, most do
    local job = redis.call('rpoplpush', KEYS[k], KEYS[k + 1])
    if not job then break end
    jobs[#jobs + 1] = job
  end
  local taken = #jobs - before
  if taken > 0 then
    left = left - taken
    redis.call('incrby', KEYS[k + 3], taken)
    redis.call('hincrby', KEYS[k + 4], ARGV[1], taken)
  end
end
return jobs
