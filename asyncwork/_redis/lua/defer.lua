-- Has a job that waits run again later: moves it from the in-progress list to the scheduled jobs, or to its queue if
-- one of the events is there already. Idempotent: the token says that it was done, although the job, whose bytes stay
-- the same, may be in progress here again.
-- KEYS    in-progress, lock, lock_info, scheduled, queue, the hash of the steps; for a job with a record: that, its
--         stream, the set of finished jobs
-- ARGV    pool id, payload, score (epoch seconds), token, seconds to keep the steps, how many events, the payload to
--         push to the queue, the field of each event …; for a job with a record: id, seconds to keep the record,
--         seconds to keep the stream (0 if it has none), whether it is listed among the finished jobs (1 or 0), the
--         fields of the record with their values
-- Returns 1 if it was moved, else 0. The new location is written first: an error there leaves the job in progress.
-- include sync_share
-- include write_end
-- include allow_when_oom
-- include delete_if_wrong_type
-- include keep_steps
if type(redis.pcall('lpos', KEYS[1], ARGV[2], 'RANK', -1)) ~= 'number' then
  return 0
end
allow_when_oom(KEYS[1])
delete_if_wrong_type('hash', KEYS[6])
if redis.call('hget', KEYS[6], 'deferred') == ARGV[4] then
  return 0
end
local count = tonumber(ARGV[6])
local ready, awaits = false, {}
for i = 8, 7 + count do
  ready = ready or redis.call('hexists', KEYS[6], ARGV[i]) == 1
  awaits[#awaits + 1] = ARGV[i]
end
if not ready or type(redis.pcall('lpush', KEYS[5], ARGV[7])) ~= 'number' then
  redis.call('zadd', KEYS[4], ready and redis.call('time')[1] or ARGV[3], ARGV[2])
end
redis.call('hset', KEYS[6], 'deferred', ARGV[4], 'payload', ARGV[2], 'until', ARGV[3], 'awaits', table.concat(awaits, '\n'))
keep_steps(KEYS[6], ARGV[5])
redis.call('lrem', KEYS[1], -1, ARGV[2])
sync_share(KEYS[1], KEYS[2], KEYS[3], ARGV[1])
if KEYS[7] then
  write_end(KEYS[7], KEYS[8], KEYS[9], ARGV[8 + count], ARGV[9 + count], ARGV[10 + count], ARGV[11 + count],
    {unpack(ARGV, 12 + count)})
end
return 1
