-- Moves a job that was rate limited to the front of its queue, and lets the queue rest: no pool takes jobs from it for
-- some time. Idempotent: a job that is not in progress here any more is not moved, and then the queue does not rest.
-- KEYS    in-progress, lock, lock_info, queue, paused; for a job whose attempts are kept: its record, its stream, the
--         set of finished jobs
-- ARGV    pool id, payload, milliseconds to rest; for a job whose attempts are kept: id, seconds to keep the record,
--         seconds to keep the stream (0), whether it is listed among the finished jobs (0), the field of the attempt
--         and its value
-- Returns 1 if it was moved, else 0.
-- include sync_share
-- include write_end
-- include allow_when_oom
allow_when_oom(KEYS[1])
if not redis.call('lpos', KEYS[1], ARGV[2], 'RANK', -1) then
  return 0
end
redis.call('rpush', KEYS[4], ARGV[2])
redis.call('lrem', KEYS[1], -1, ARGV[2])
sync_share(KEYS[1], KEYS[2], KEYS[3], ARGV[1])
-- A queue that an operator has paused stays paused, and a longer rest stays, too.
local ends = redis.call('pttl', KEYS[5])
if ends ~= -1 and ends < tonumber(ARGV[3]) then
  redis.call('set', KEYS[5], 'rest', 'PX', ARGV[3])
end
if KEYS[6] then
  write_end(KEYS[6], KEYS[7], KEYS[8], ARGV[4], ARGV[5], ARGV[6], ARGV[7], {unpack(ARGV, 8)})
end
return 1
