-- Moves jobs from a sorted set to their queues. A job that is not in the set any more was moved by another pool and is
-- skipped. An instance of a paused periodic job is deleted.
-- KEYS    sorted set, quarantine, the hash of when each periodic job last fired, the hash of the changes of periodic
--         jobs, queue, record or runs of a periodic job …
-- ARGV    how the change of a paused job begins, then for each job: its member, the number of its destination in KEYS (2 for the quarantine), the payload to push;
--         for an instance of a periodic job that job's field in the hashes, its own epoch second and the number of the
--         runs in KEYS, otherwise '', 0 and 0; for a dead job the number of its record in KEYS, otherwise 0
-- Returns {moved, refusal, refused, paused}: how many were moved, the error for those that were not or '', and their
--         numbers, from 1; and the numbers of those that were deleted. The push comes first: if it fails, because the
--         queue is not a list, the job stays.
-- include allow_when_oom
-- include reopen_record
-- include add_run
if #KEYS > 4 then allow_when_oom(KEYS[5]) end
local moved, refusal, refused, paused, now = 0, '', {}, {}, nil
-- An instance that has run and was delayed has another score than its own second, and goes on.
-- pcall: a key of another type must not keep jobs from their queues.
local function is_paused(periodic, at, score)
  if tonumber(score) ~= tonumber(at) then
    return false
  end
  local change = redis.pcall('hget', KEYS[4], periodic)
  return type(change) == 'string' and string.sub(change, 1, #ARGV[1]) == ARGV[1]
end
local function record_firing(periodic, at, runs)
  now = now or tonumber(redis.call('time')[1])
  -- A time in the future was written when Redis's clock was ahead.
  local last = tonumber(redis.pcall('hget', KEYS[3], periodic)) or 0
  if tonumber(at) > last or not (last <= now) then
    redis.pcall('hset', KEYS[3], periodic, at)
  end
  add_run(KEYS[runs], at, at)
end
for i = 2, #ARGV, 7 do
  local score = redis.call('zscore', KEYS[1], ARGV[i])
  local periodic, at, runs, record = ARGV[i + 3], ARGV[i + 4], tonumber(ARGV[i + 5]), tonumber(ARGV[i + 6])
  if score and periodic ~= '' and is_paused(periodic, at, score) then
    redis.call('zrem', KEYS[1], ARGV[i])
    paused[#paused + 1] = (i + 5) / 7
  elseif score then
    local pushed = redis.pcall('lpush', KEYS[tonumber(ARGV[i + 1])], ARGV[i + 2])
    if type(pushed) == 'number' then
      moved = moved + redis.call('zrem', KEYS[1], ARGV[i])
      if record > 0 then
        reopen_record(KEYS[record], {dead = true})
      end
      if periodic ~= '' then
        record_firing(periodic, at, runs)
      end
    else
      refusal = pushed.err
      refused[#refused + 1] = (i + 5) / 7
    end
  end
end
return {moved, refusal, refused, paused}
