-- Schedules a job so that it starts once no other with its key has come for a while: it replaces the one that
-- waits, whose id it gets, and puts off its start. Times are by Redis's clock.
-- KEYS    the key of the rule, scheduled, the hash of counted duplicates
-- ARGV    the payload in three parts: what comes before its id, the id, and what comes after it; for how long none may
--         have come (seconds), how long after the first it is due at the latest (seconds; 0 for any time), seconds for
--         which the key is kept after that, the job name
-- Returns {what, id, due}. what: 1: it was scheduled; 2: the job `id`, which waits, has its arguments now. due: when
--         that is due, epoch seconds, as text.
-- include count_duplicate
local time = redis.call('time')
local now = time[1] + time[2] / 1000000
-- pcall: a key of another type is overwritten.
local held, first = redis.pcall('hmget', KEYS[1], 'id', 'payload', 'first'), now
local id = ARGV[2]
-- A job that is not there any more has started or was deleted: then a new burst begins.
local waits = not held.err and held[2] and type(redis.pcall('zscore', KEYS[2], held[2])) == 'string'
if waits then
  id, first = held[1], tonumber(held[3])
  count_duplicate(KEYS[3], ARGV[7], 'replaced')
end
local due = now + tonumber(ARGV[4])
if tonumber(ARGV[5]) > 0 then
  due = math.min(due, first + tonumber(ARGV[5]))
end
due = string.format('%.0f', math.ceil(due))
local before, after = ARGV[1], ARGV[3]
local payload = before .. id .. after
redis.call('zadd', KEYS[2], due, payload)
if waits and held[2] ~= payload then
  redis.call('zrem', KEYS[2], held[2])
end
if held.err then
  redis.call('del', KEYS[1])
end
redis.call('hset', KEYS[1], 'id', id, 'payload', payload, 'first', string.format('%.6f', first))
redis.call('expire', KEYS[1], string.format('%.0f', math.ceil(due - now) + ARGV[6]))
return {waits and 2 or 1, id, due}
