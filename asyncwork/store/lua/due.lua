-- Reads what is due in a sorted set of jobs, by Redis's own clock, so that all pools agree on it.
-- KEYS    sorted set
-- ARGV    how many due members to pass over, how many to return
-- Returns {now, next, member …}. now: epoch seconds with fraction, as text. next: the score of the first member that is
--         not due yet, as text, or ''.
local time = redis.call('time')
local now = string.format('%d.%06d', time[1], time[2])
local later = redis.call('zrangebyscore', KEYS[1], '(' .. now, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
local found = {now, later[2] or ''}
for _, member in ipairs(redis.call('zrangebyscore', KEYS[1], '-inf', now, 'LIMIT', ARGV[1], ARGV[2])) do
  found[#found + 1] = member
end
return found
