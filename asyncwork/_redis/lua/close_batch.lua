-- Takes back from the counters of a batch members that were not written, such as duplicates; and if its creator adds no
-- more, lets the batch end with its last member.
-- KEYS    scheduled, the hash of cancels, the set of open batches, the hash of unique flows, five for the batch
-- ARGV    how many members were not written, 1 if its creator adds no more, else 0
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
if ARGV[2] == '1' then
  redis.call('hdel', KEYS[5], 'open')
end
return end_batch(5, KEYS[1], KEYS[2], KEYS[3], KEYS[4]) > 0 and 1 or 0
