-- Frees the keys that jobs hold which are gone. A key that another job holds by now stays.
-- KEYS    scheduled, then for each job: hold, queue
-- ARGV    for each job: its id, since when it holds the key (epoch seconds; '' if that does not matter)
-- Returns how many were freed.
-- include free_hold
local freed = 0
for i = 1, #ARGV, 2 do
  -- pcall: a key of another type is not a hold.
  local since = ARGV[i + 1] ~= '' and redis.pcall('hget', KEYS[i + 1], 'since')
  if ARGV[i + 1] == '' or since == ARGV[i + 1] then
    freed = freed + free_hold(KEYS[i + 1], ARGV[i], KEYS[1], KEYS[i + 2])
  end
end
return freed
