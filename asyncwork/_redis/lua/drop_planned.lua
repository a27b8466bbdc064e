-- Takes planned instances of periodic jobs out of the scheduled ones. One that has run and was put off has another score
-- than its own second, and stays.
-- KEYS    scheduled
-- ARGV    for each instance: its member, its epoch second
-- Returns which of them were taken out, from 1.
local dropped = {}
for i = 1, #ARGV, 2 do
  if tonumber(redis.call('zscore', KEYS[1], ARGV[i])) == tonumber(ARGV[i + 1]) then
    redis.call('zrem', KEYS[1], ARGV[i])
    dropped[#dropped + 1] = (i + 1) / 2
  end
end
return dropped
