-- Moves jobs from a sorted set to their queues. A job that is not in the set any more was moved by another pool and is
-- skipped. An instance of a paused periodic job is deleted. A job that is to hold a key takes it, if it is free.
-- KEYS    sorted set, quarantine, the hash of when each periodic job last fired, the hash of the changes of periodic
--         jobs, queue, record, hold or runs of a periodic job …
-- ARGV    how the change of a paused job begins, then for each job: its member, the number of its destination in KEYS
--         (2 for the quarantine), the payload to push; for an instance of a periodic job that job's field in the
--         hashes, its own epoch second and the number of the runs in KEYS, otherwise '', 0 and 0; for a dead job the
--         number of its record in KEYS, otherwise 0; for a job that holds a key 'NUMBER MODE UNTIL ID', otherwise '':
--         the number of the hold in KEYS; what happens if another job holds the key: 'stay', 'drop', or 'move' all the
--         same, as does 'begun', a job whose arguments must not be exchanged for another's any more; 'anew' is as
--         'stay', for a job that has freed the key, so that one with its id is another; until what it holds the key;
--         its id
-- Returns {moved, refusal, refused, paused, held}: how many were moved, the error for those that were not or '', and
--         their numbers, from 1; the numbers of those that were deleted, because they are paused; and {number, id, …}
--         of those that stay or were dropped because the job `id` holds their key. The push comes first: if it fails,
--         because the queue is not a list, the job stays.
-- include allow_when_oom
-- include reopen_record
-- include add_run
-- include take_hold
if #KEYS > 4 then allow_when_oom(KEYS[5]) end
local moved, refusal, refused, paused, held, now = 0, '', {}, {}, {}, nil
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
-- Returns the number of the hold, the mode, until what, and the id of a job that holds a key; nothing for another job.
local function read_hold(text)
  if text ~= '' then
    local number, mode, until_what, id = string.match(text, '^(%d+) (%l+) (%l+) (.*)$')
    return tonumber(number), mode, until_what, id
  end
end
local function other_holder(hold, id)
  -- pcall: a key of another type is not a hold.
  local holder = redis.pcall('hget', hold, 'id')
  return type(holder) == 'string' and holder ~= id and holder or nil
end
for i = 2, #ARGV, 8 do
  local score = redis.call('zscore', KEYS[1], ARGV[i])
  local periodic, at, runs, record = ARGV[i + 3], ARGV[i + 4], tonumber(ARGV[i + 5]), tonumber(ARGV[i + 6])
  if score and periodic ~= '' and is_paused(periodic, at, score) then
    redis.call('zrem', KEYS[1], ARGV[i])
    paused[#paused + 1] = (i + 6) / 8
  elseif score then
    local hold, mode, until_what, id = read_hold(ARGV[i + 7])
    local holder
    if mode == 'stay' or mode == 'drop' or mode == 'anew' then
      holder = other_holder(KEYS[hold], mode ~= 'anew' and id)
    end
    if holder then
      held[#held + 1] = (i + 6) / 8
      held[#held + 1] = holder
    end
    local pushed = {}
    if holder and mode == 'drop' then
      redis.call('zrem', KEYS[1], ARGV[i])
    elseif not holder then
      pushed = redis.pcall('lpush', KEYS[tonumber(ARGV[i + 1])], ARGV[i + 2])
    end
    if type(pushed) == 'number' then
      moved = moved + redis.call('zrem', KEYS[1], ARGV[i])
      if record > 0 then
        reopen_record(KEYS[record], {dead = true})
      end
      if periodic ~= '' then
        record_firing(periodic, at, runs)
      end
      if hold then
        take_hold(KEYS[hold], id, until_what, mode ~= 'begun' and ARGV[i + 2] or '')
      end
    elseif not holder then
      refusal = pushed.err
      refused[#refused + 1] = (i + 6) / 8
    end
  end
end
return {moved, refusal, refused, paused, held}
