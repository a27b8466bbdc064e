-- Enqueues a periodic job now, beside its schedule, and records that.
-- KEYS    queue, the set of registered names, the hash of the newest planned instance of each periodic job, the runs of
--         the periodic job
-- ARGV    the name, the payload, the periodic job's field in the hash, the time (epoch seconds), the run
-- Returns 1: enqueued; 0: it was enqueued before, by a call whose reply was lost
-- include add_run
if type(redis.pcall('zscore', KEYS[4], ARGV[5])) == 'string' then
  return 0
end
redis.call('lpush', KEYS[1], ARGV[2])
redis.pcall('sadd', KEYS[2], ARGV[1])
-- So that the runs are deleted with what else is known of the job, once no pool has it any more.
redis.pcall('hsetnx', KEYS[3], ARGV[3], 0)
add_run(KEYS[4], ARGV[4], ARGV[5])
return 1
