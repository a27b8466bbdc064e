-- Deletes planned instances of periodic jobs from the scheduled set. An instance that has run and was delayed has
-- another score than its own second, and stays.
-- KEYS    scheduled
-- ARGV    for each instance: its member, its epoch second
-- Returns the numbers, from 1, of the deleted instances.
local dropped = {}
for i = 1, #ARGV, 2 do
  if tonumber(redis.call('zscore', KEYS[1], ARGV[i])) == tonumber(ARGV[i + 1]) then
    redis.call('zrem', KEYS[1], ARGV[i])
    dropped[#dropped + 1] = (i + 1) / 2
  end
end
return dropped
