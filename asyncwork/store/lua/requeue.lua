-- Moves jobs from a sorted set to their queues. What is no longer in the set was moved by another pool and is passed over.
-- KEYS    sorted set, quarantine, queue …
-- ARGV    for each job: its member, the place of its destination in KEYS (2 for the quarantine), what to push there
-- Returns how many were moved. The push comes first: where it fails (a queue that is no list) the job stays.
local moved = 0
for i = 1, #ARGV, 3 do
  if redis.call('zscore', KEYS[1], ARGV[i]) then
    local pushed = redis.pcall('lpush', KEYS[tonumber(ARGV[i + 1])], ARGV[i + 2])
    if type(pushed) == 'number' then
      moved = moved + redis.call('zrem', KEYS[1], ARGV[i])
    end
  end
end
return moved
