-- Deletes unique keys that no job claims, unless they were taken anew since they were looked at: then one may. What is no
-- string is no unique key, and stays.
-- KEYS    unique key …
-- ARGV    by how much its end may differ (ms); then of each key when it was to end (epoch ms; 0: never), and the id of the
--         job whose it was ('' where that is not told)
-- Returns how many were deleted.
-- include owner
local now = redis.call('time')
local at, slack, freed = now[1] * 1000 + math.floor(now[2] / 1000), tonumber(ARGV[1]), 0
for i, key in ipairs(KEYS) do
  local left, was_to_end = redis.call('pttl', key), tonumber(ARGV[2 * i])
  local ends = left < 0 and 0 or at + left
  -- pcall: what is no string is nobody's.
  local held = redis.pcall('get', key)
  if type(held) == 'string' and owner_of(held) == ARGV[2 * i + 1] and math.abs(ends - was_to_end) <= slack then
    freed = freed + redis.call('del', key)
  end
end
return freed
