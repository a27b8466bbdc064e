-- Moves jobs from a sorted set to their queues. What is no longer in the set was moved by another pool and is passed over.
-- KEYS    sorted set, quarantine, the hash of when each periodic job last fired, queue …
-- ARGV    for each job: its member, the place of its destination in KEYS (2 for the quarantine), what to push there; and
--         of an instance of a periodic job that job's field in the hash and its own epoch second, otherwise '' and 0
-- Returns {moved, refusal}: how many were moved, and '' or why some were not. The push comes first: where it fails (a queue
--         that is no list) the job stays.
-- include even_if_full
if #KEYS > 3 then even_if_full(KEYS[4]) end
local moved, refusal = 0, ''
for i = 1, #ARGV, 5 do
  if redis.call('zscore', KEYS[1], ARGV[i]) then
    local pushed = redis.pcall('lpush', KEYS[tonumber(ARGV[i + 1])], ARGV[i + 2])
    if type(pushed) == 'number' then
      moved = moved + redis.call('zrem', KEYS[1], ARGV[i])
      local periodic, at = ARGV[i + 3], ARGV[i + 4]
      -- pcall: a hash that is none must not keep jobs from their queues.
      if periodic ~= '' and tonumber(at) > (tonumber(redis.pcall('hget', KEYS[3], periodic)) or 0) then
        redis.pcall('hset', KEYS[3], periodic, at)
      end
    else
      refusal = pushed.err
    end
  end
end
return {moved, refusal}
