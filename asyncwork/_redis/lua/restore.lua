-- Puts members back into their sorted set.
-- KEYS    where they were kept, sorted set
-- ARGV    how many at most
-- Returns how many came back. What is there again already keeps its score.
local restored = 0
for _ = 1, ARGV[1] do
  local pair = redis.call('lrange', KEYS[1], 0, 1)
  if #pair < 2 then break end
  restored = restored + redis.call('zadd', KEYS[2], 'NX', pair[1], pair[2])
  redis.call('ltrim', KEYS[1], 2, -1)
end
return restored
