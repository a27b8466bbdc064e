-- Deletes unique keys that no job claims, unless they were written again since they were read, because then a job may
-- claim them. A key that is not a string is not a unique key, and stays.
-- KEYS    unique key …
-- ARGV    by how much the expiry may differ (ms); then for each key its expiry when it was read (epoch ms; 0: never),
--         and the id of its owner ('' if the value does not name one)
-- Returns how many were deleted.
-- include unique_owner
local now = redis.call('time')
local at, slack, freed = now[1] * 1000 + math.floor(now[2] / 1000), tonumber(ARGV[1]), 0
for i, key in ipairs(KEYS) do
  local left, was_to_end = redis.call('pttl', key), tonumber(ARGV[2 * i])
  local ends = left < 0 and 0 or at + left
  -- pcall: a key that is not a string has no owner.
  local value = redis.pcall('get', key)
  if type(value) == 'string' and owner_id(value) == ARGV[2 * i + 1] and math.abs(ends - was_to_end) <= slack then
    freed = freed + redis.call('del', key)
  end
end
return freed
