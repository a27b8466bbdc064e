-- Marks jobs that are to be cancelled, so that none of them starts. The first mark of a job stays.
-- KEYS    the hash of cancels
-- ARGV    seconds to keep the marks, then for each job: its id, JSON that says who has cancelled it, why and when
-- Returns how many were not marked before.
local new = 0
for i = 2, #ARGV, 2 do
  new = new + redis.call('hsetnx', KEYS[1], ARGV[i], ARGV[i + 1])
end
redis.call('expire', KEYS[1], ARGV[1])
return new
