-- Restores deleted elements to their list, a queue at its front, so that they run next.
-- KEYS    list of the deleted elements, list
-- ARGV    how many at most
-- Returns how many were restored.
local restored = 0
while restored < tonumber(ARGV[1]) and redis.call('lmove', KEYS[1], KEYS[2], 'LEFT', 'RIGHT') do
  restored = restored + 1
end
return restored
