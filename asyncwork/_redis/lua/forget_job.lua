-- Forgets a job name that has no waiting and no running jobs.
-- KEYS    known_jobs, queue, paused, lock, lock_info, max_concurrency, the hash of queue options, the hash of
--         limits that were set at run time, the state of its rate, the hash of rates
-- ARGV    job name
-- Returns 1 if it was forgotten, 0 if jobs wait or run.
if redis.call('llen', KEYS[2]) > 0 or (tonumber(redis.pcall('get', KEYS[4])) or 0) > 0 then
  return 0
end
redis.call('srem', KEYS[1], ARGV[1])
redis.call('del', KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[9])
-- pcall: keys of another type hold nothing of this name.
redis.pcall('hdel', KEYS[7], ARGV[1])
redis.pcall('hdel', KEYS[8], ARGV[1])
redis.pcall('hdel', KEYS[10], 'code:' .. ARGV[1], 'set:' .. ARGV[1])
return 1
