-- Restores deleted elements to their list, a queue at its front, so that they run next.
-- KEYS    list of the deleted elements, list, the records of the elements
-- ARGV    how many elements at most
-- Returns how many were restored.
-- include reopen_record
local restored = 0
while restored < tonumber(ARGV[1]) and redis.call('lmove', KEYS[1], KEYS[2], 'LEFT', 'RIGHT') do
  restored = restored + 1
end
if restored > 0 then
  for i = 3, #KEYS do
    reopen_record(KEYS[i], {deleted = true, cancelled = true})
  end
end
return restored
