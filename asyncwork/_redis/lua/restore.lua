-- Restores deleted members to their sorted set.
-- KEYS    list of the deleted members, sorted set, the records of the members
-- ARGV    how many members at most
-- Returns how many were restored. A member that is there again keeps its score.
-- include reopen_record
local restored = 0
for _ = 1, ARGV[1] do
  local pair = redis.call('lrange', KEYS[1], 0, 1)
  if #pair < 2 then break end
  restored = restored + redis.call('zadd', KEYS[2], 'NX', pair[1], pair[2])
  redis.call('ltrim', KEYS[1], 2, -1)
end
if restored > 0 then
  for i = 3, #KEYS do
    reopen_record(KEYS[i], {deleted = true, cancelled = true})
  end
end
return restored
