-- Deletes members of a sorted set, frees what they kept unique, and keeps them aside for a while. A unique key that is
-- another job's is left alone.
-- KEYS    sorted set, where to keep them, unique key …
-- ARGV    seconds for which they are kept (0: not at all), then for each: its member, the job's id, the first and the last
--         place in KEYS of what keeps it unique (the last is lower where nothing does)
-- Returns how many were there. What is kept is a list of scores and members.
-- include owner
local kept, gone = tonumber(ARGV[1]), 0
for i = 2, #ARGV, 4 do
  local score = redis.call('zscore', KEYS[1], ARGV[i])
  if score then
    if kept > 0 then
      redis.call('rpush', KEYS[2], score, ARGV[i])
    end
    for place = tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3]) do
      let_go(KEYS[place], ARGV[i + 1])
    end
    gone = gone + redis.call('zrem', KEYS[1], ARGV[i])
  end
end
if gone > 0 and kept > 0 then
  redis.call('expire', KEYS[2], kept)
end
return gone
