-- Deletes unique keys that no job claims, unless they were written anew since they were looked at: then one may.
-- KEYS    unique key …
-- ARGV    by how much its end may differ (ms), then of each key when it was to end (epoch ms; 0: never)
-- Returns how many were deleted.
local now = redis.call('time')
local at, slack, freed = now[1] * 1000 + math.floor(now[2] / 1000), tonumber(ARGV[1]), 0
for i, key in ipairs(KEYS) do
  local left, was_to_end = redis.call('pttl', key), tonumber(ARGV[i + 1])
  local ends = left < 0 and 0 or at + left
  if math.abs(ends - was_to_end) <= slack then
    freed = freed + redis.call('del', key)
  end
end
return freed
