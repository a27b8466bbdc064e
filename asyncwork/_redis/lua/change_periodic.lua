-- Changes a periodic job at run time, and deletes its planned instances in the same step, so that no pool fires by the
-- old definition. Pools then plan by the new one, from now on.
-- KEYS    scheduled, the hash of the newest planned instance of each periodic job, the hash of the changes
-- ARGV    the periodic job's field in both hashes, the change that was read ('' for none), the change to write ('' for
--         none), the payload of the old instances in three parts, between which the epoch second stands ('' if
--         unknown), how long instances may be overdue (seconds; 0 keeps those that are due), for how many seconds
--         instances are deleted by one call
-- Returns -1: another change was written meanwhile; 0: call it again, because more instances may be planned; 1: written
local job, head, step = ARGV[1], ARGV[4], tonumber(ARGV[8])
local current = redis.call('hget', KEYS[3], job) or ''
if current ~= ARGV[2] then
  -- It is there already when the reply to the first call was lost.
  return current == ARGV[3] and 1 or -1
end
local now = tonumber(redis.call('time')[1])
-- pcall: pools delete a key of another type. A time that no pool can have planned was written when Redis's clock was
-- ahead.
local newest = tonumber(redis.pcall('hget', KEYS[2], job)) or 0
if not (newest <= now + 86400) then
  newest = now + 86400
end
local overdue = tonumber(ARGV[7])
local first = overdue > 0 and math.min(now, newest) - overdue or now
-- From the latest on, so that what is not deleted yet is never behind the newest one.
local last = math.max(newest, first)
local from = math.max(first, last - step)
if head ~= '' and newest > 0 and redis.call('type', KEYS[1]).ok == 'zset' then
  for at = last, from + 1, -1 do
    local second = string.format('%.0f', at)
    local member = head .. second .. ARGV[5] .. second .. ARGV[6]
    -- An instance that has run and was delayed has another score.
    if tonumber(redis.call('zscore', KEYS[1], member)) == at then
      redis.call('zrem', KEYS[1], member)
    end
  end
else
  from = first
end
-- Also where the newest one is long past: a pool that has stood still since before a pause plans nothing of that time.
-- Without it, nothing may change: Redis refuses it when its memory is full.
local noted = redis.pcall('hset', KEYS[2], job, string.format('%.0f', math.max(from, now)))
if type(noted) == 'table' and not string.find(noted.err, 'WRONGTYPE', 1, true) then
  return noted
end
if from > first then
  return 0
end
if ARGV[3] == '' then
  redis.call('hdel', KEYS[3], job)
else
  redis.call('hset', KEYS[3], job, ARGV[3])
end
return 1
