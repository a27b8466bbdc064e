-- Marks jobs that are to be cancelled, so that none of them starts, and wakes the pools. The first mark of a job stays.
-- KEYS    the hash of cancels
-- ARGV    the channel on which the pools are woken, seconds to keep the marks, then for each job: its id, JSON that says
--         who has cancelled it, why and when
-- Returns how many were not marked before.
local new = 0
for i = 3, #ARGV, 2 do
  new = new + redis.call('hsetnx', KEYS[1], ARGV[i], ARGV[i + 1])
end
redis.call('expire', KEYS[1], ARGV[2])
-- pcall: the user may lack the channel. The pools read the marks with each heartbeat all the same.
redis.pcall('publish', ARGV[1], '')
return new
