-- Schedules the coming instances of a periodic job, each once, however many pools do so and however late: an instance
-- that is not later than the newest one ever planned was planned before.
-- KEYS    scheduled, the hash of the newest planned instance of each periodic job
-- ARGV    the periodic job's field in that hash, how far ahead instances are planned (seconds), then for each instance:
--         its epoch second, its payload
-- Returns {added, ahead}: how many were new, and by how many seconds the newest instance was further ahead than any is
--         planned; 0 if it was not. It is when Redis's clock had been ahead and is right again.
-- include delete_if_wrong_type
delete_if_wrong_type('hash', KEYS[2])
local now, ahead, added = tonumber(redis.call('time')[1]), 0, 0
local latest = now + math.ceil(tonumber(ARGV[2]))
-- A value that is not a time was not written here.
local newest = tonumber(redis.call('hget', KEYS[2], ARGV[1])) or 0
if not (newest <= latest) then
  ahead = newest < 2^53 and newest - latest or 1
  newest = now
end
for i = 3, #ARGV, 2 do
  local at = tonumber(ARGV[i])
  if at > newest then
    redis.call('zadd', KEYS[1], ARGV[i], ARGV[i + 1])
    newest, added = at, added + 1
  end
end
if added > 0 or ahead > 0 then
  redis.call('hset', KEYS[2], ARGV[1], string.format('%.0f', newest))
end
return {added, ahead}
