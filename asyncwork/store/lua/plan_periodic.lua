-- Puts the coming instances of a periodic job among the scheduled ones, each once, however many pools do so and however
-- late: what is not later than the newest instance ever planned was planned before.
-- KEYS    scheduled, the hash of the newest instance of each periodic job
-- ARGV    the periodic job's field in that hash, then for each instance: its epoch second, its payload
-- Returns how many were new.
-- include of_kind
of_kind('hash', KEYS[2])
local newest, added = tonumber(redis.call('hget', KEYS[2], ARGV[1])), 0
-- What is no time, or a day behind all that is to be planned, was not written here.
if not newest or not (newest <= tonumber(ARGV[#ARGV - 1]) + 86400) then
  newest = 0
end
for i = 2, #ARGV, 2 do
  local at = tonumber(ARGV[i])
  if at > newest then
    redis.call('zadd', KEYS[1], ARGV[i], ARGV[i + 1])
    newest, added = at, added + 1
  end
end
if added > 0 then
  redis.call('hset', KEYS[2], ARGV[1], string.format('%.0f', newest))
end
return added
