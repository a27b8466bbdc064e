-- Enqueues jobs of one queue, in their order, as long as no more wait there than its limit allows.
-- KEYS    queue, the hash of limits that were set at run time
-- ARGV    job name, the limit that the enqueuer has (0 for none), 1 if the jobs go to the front of the queue, payload …
-- Returns {written, waiting, limit}: how many were enqueued, and if not all of them were, how many jobs wait, and how
--         many may.
-- include max_waiting
local total = #ARGV - 3
local limit, waiting = max_waiting(KEYS[2], ARGV[1], ARGV[2]), redis.call('llen', KEYS[1])
local written = limit > 0 and math.max(0, math.min(total, limit - waiting)) or total
local push = ARGV[3] == '1' and 'rpush' or 'lpush'
-- More than 5,000 jobs would not fit on Lua's stack.
for first = 4, 3 + written, 5000 do
  redis.call(push, KEYS[1], unpack(ARGV, first, math.min(first + 4999, 3 + written)))
end
return {written, waiting + written, limit}
