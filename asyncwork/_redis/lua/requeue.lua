-- Moves jobs from a sorted set to their queues. A job that is not in the set any more was moved by another pool and is
-- skipped.
-- KEYS    sorted set, quarantine, the hash of when each periodic job last fired, queue or record …
-- ARGV    for each job: its member, the number of its destination in KEYS (2 for the quarantine), the payload to push;
--         for an instance of a periodic job that job's field in the hash and its own epoch second, otherwise '' and 0;
--         for a dead job the number of its record in KEYS, otherwise 0
-- Returns {moved, refusal, refused}: how many were moved, the error for those that were not or '', and their numbers,
--         from 1. The push comes first: if it fails, because the queue is not a list, the job stays.
-- include allow_when_oom
-- include reopen_record
if #KEYS > 3 then allow_when_oom(KEYS[4]) end
local moved, refusal, refused, now = 0, '', {}, nil
for i = 1, #ARGV, 6 do
  if redis.call('zscore', KEYS[1], ARGV[i]) then
    local pushed = redis.pcall('lpush', KEYS[tonumber(ARGV[i + 1])], ARGV[i + 2])
    if type(pushed) == 'number' then
      moved = moved + redis.call('zrem', KEYS[1], ARGV[i])
      local periodic, at, record = ARGV[i + 3], ARGV[i + 4], tonumber(ARGV[i + 5])
      if record > 0 then
        reopen_record(KEYS[record], {dead = true})
      end
      if periodic ~= '' then
        now = now or tonumber(redis.call('time')[1])
        -- pcall: a key of another type must not keep jobs from their queues. A time in the future was written when
        -- Redis's clock was ahead.
        local last = tonumber(redis.pcall('hget', KEYS[3], periodic)) or 0
        if tonumber(at) > last or not (last <= now) then
          redis.pcall('hset', KEYS[3], periodic, at)
        end
      end
    else
      refusal = pushed.err
      refused[#refused + 1] = (i + 5) / 6
    end
  end
end
return {moved, refusal, refused}
