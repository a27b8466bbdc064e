-- Puts elements back into their list: into a queue at the front, so that they run next.
-- KEYS    where they were kept, list
-- ARGV    how many at most
-- Returns how many came back.
local restored = 0
while restored < tonumber(ARGV[1]) and redis.call('lmove', KEYS[1], KEYS[2], 'LEFT', 'RIGHT') do
  restored = restored + 1
end
return restored
