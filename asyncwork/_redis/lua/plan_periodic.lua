-- Schedules the coming instances of a periodic job, each once, however many pools do so and however late: an instance
-- that is not later than the newest one ever planned was planned before.
-- KEYS    scheduled, the hash of the newest planned instance of each periodic job, the hash of the changes made at run
--         time
-- ARGV    the periodic job's field in both hashes, how far ahead instances are planned (seconds), the change that the
--         pool has read ('' for none), then for each instance: its epoch second, its payload
-- Returns {added, ahead, changed}: how many were new; by how many seconds the newest instance was further ahead than
--         any is planned, 0 if it was not (it is when Redis's clock had been ahead and is right again); and 1 if there
--         is another change than the pool has read, so that nothing was planned, otherwise 0.
-- include delete_if_wrong_type
-- pcall: a key of another type changes nothing.
local change = redis.pcall('hget', KEYS[3], ARGV[1]) or ''
if type(change) == 'string' and change ~= ARGV[3] then
  return {0, 0, 1}
end
delete_if_wrong_type('hash', KEYS[2])
local now, ahead, added = tonumber(redis.call('time')[1]), 0, 0
local latest = now + math.ceil(tonumber(ARGV[2]))
-- A value that is not a time was not written here.
local newest = tonumber(redis.call('hget', KEYS[2], ARGV[1])) or 0
if not (newest <= latest) then
  ahead = newest < 2^53 and newest - latest or 1
  newest = now
end
for i = 4, #ARGV, 2 do
  local at = tonumber(ARGV[i])
  if at > newest then
    redis.call('zadd', KEYS[1], ARGV[i], ARGV[i + 1])
    newest, added = at, added + 1
  end
end
if added > 0 or ahead > 0 then
  redis.call('hset', KEYS[2], ARGV[1], string.format('%.0f', newest))
end
return {added, ahead, 0}
