-- Takes back from the counters of a batch members that were not written, such as duplicates; and if its creator adds no
-- more, lets the batch end with its last member. One that was cancelled before that lacks members, so it never succeeds.
-- KEYS    scheduled, the hash of cancels, the set of open batches, the hash of unique flows, five for the batch
-- ARGV    how many members were not written, 1 if its creator adds no more, else 0; the mark with which it is cancelled if
--         it has no members, because its creator has died
-- Returns 1 if jobs are due now, else 0.
-- include settle_member
-- include allow_when_oom
allow_when_oom(KEYS[1])
if redis.call('exists', KEYS[5]) == 0 then
  return 0
end
if ARGV[1] ~= '0' then
  redis.call('hincrby', KEYS[5], 'total', -ARGV[1])
  redis.call('hincrby', KEYS[5], 'left', -ARGV[1])
end
if ARGV[3] and redis.call('hget', KEYS[5], 'total') == '0' then
  redis.call('hsetnx', KEYS[5], 'cancel', ARGV[3])
end
if ARGV[2] == '1' then
  if redis.call('hdel', KEYS[5], 'open') == 1 and redis.call('hexists', KEYS[5], 'cancel') == 1 then
    redis.call('hset', KEYS[5], 'incomplete', 1)
  end
end
return end_batch(5, KEYS[1], KEYS[2], KEYS[3], KEYS[4]) > 0 and 1 or 0
