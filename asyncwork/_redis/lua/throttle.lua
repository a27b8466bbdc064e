-- Enqueues a job unless one with its key has started within a period. If the newest that follows is to start at the end
-- of the period, it is scheduled for then, and replaces the one that waits for that, whose id it gets. Times are by
-- Redis's clock.
-- KEYS    the key of the rule, queue, scheduled, the hash of counted duplicates; if the queue may have a limit: the hash
--         of limits that were set at run time
-- ARGV    the payload in three parts: what comes before its id, the id, and what comes after it; the period (seconds);
--         1 if the newest starts at its end; 1 if it goes to the front of its queue; the job name; if the queue may
--         have a limit: the limit that the enqueuer has (0 for none)
-- Returns {0, waiting, limit} if so many wait that the limit allows no more, else {what, id, due}. what: 1: it was
--         enqueued, or scheduled; 0: it was not: the job `id` is that of the period; 2: the job `id`, which waits, has
--         its arguments now. due: when the job starts, epoch seconds, as text.
-- include max_waiting
-- include count_duplicate
local time = redis.call('time')
local now, per = time[1] + time[2] / 1000000, tonumber(ARGV[4])
local before, after = ARGV[1], ARGV[3]
local payload = before .. ARGV[2] .. after
-- pcall: a key of another type is overwritten.
local held = redis.pcall('hmget', KEYS[1], 'id', 'at', 'payload')
-- When the newest job with this key starts. A time that is too far in the future was written when the clock was ahead.
local at = not held.err and tonumber(held[2])
if at and at > now + per + 1 then
  at = nil
end
local function note(id, starts, waiting)
  if held.err then
    redis.call('del', KEYS[1])
  end
  redis.call('hset', KEYS[1], 'id', id, 'at', string.format('%.6f', starts), 'payload', waiting)
  redis.call('expire', KEYS[1], string.format('%.0f', math.ceil(starts + per - now) + 1))
end
if not at or now >= at + per then
  local refused = refusal(KEYS[5], ARGV[7], ARGV[8], KEYS[2])
  if refused then
    return refused
  end
  redis.call(ARGV[6] == '1' and 'rpush' or 'lpush', KEYS[2], payload)
  note(ARGV[2], now, '')
  return {1, ARGV[2], string.format('%.0f', now)}
end
if ARGV[5] ~= '1' then
  count_duplicate(KEYS[4], ARGV[7], 'dropped')
  return {0, held[1], string.format('%.0f', at)}
end
-- The end of the period, or of the one before, if a job waits for that.
local due = at > now and at or at + per
local score = string.format('%.0f', math.ceil(due))
local what, id = 1, ARGV[2]
if at > now and held[3] ~= '' and type(redis.pcall('zscore', KEYS[3], held[3])) == 'string' then
  what, id = 2, held[1]
  count_duplicate(KEYS[4], ARGV[7], 'replaced')
  payload = before .. id .. after
end
redis.call('zadd', KEYS[3], score, payload)
if what == 2 and held[3] ~= payload then
  redis.call('zrem', KEYS[3], held[3])
end
note(id, tonumber(score), payload)
return {what, id, score}
