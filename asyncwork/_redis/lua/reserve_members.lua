-- Reserves numbers for members that are to be added to a batch. Numbers that are not used in the end do no harm.
-- KEYS    five for the batch
-- ARGV    how many numbers
-- Returns the first of them; -1 if the batch is gone or never was, -2 if it has ended, -3 if it was cancelled.
local found = redis.call('hmget', KEYS[1], 'next', 'ended_at', 'cancel')
if not found[1] then
  return -1
elseif found[2] then
  return -2
elseif found[3] then
  return -3
end
for _, key in ipairs(KEYS) do
  redis.call('expire', key, 30 * 86400)
end
return redis.call('hincrby', KEYS[1], 'next', ARGV[1]) - ARGV[1]
