-- Deletes elements of a list, frees what they kept unique, and keeps them aside for a while. A unique key that is another
-- job's is left alone.
-- KEYS    list, where to keep them, unique key …
-- ARGV    seconds for which they are kept (0: not at all), then for each: its payload, the job's id, the first and the
--         last place in KEYS of what keeps it unique (the last is lower where nothing does), how many elements are before
--         it: a hint from which end to look for it
-- Returns how many were there. What is kept is a list of payloads, the one that was given first at its head.
-- include owner
local kept, gone = tonumber(ARGV[1]), 0
for i = 2, #ARGV, 5 do
  local near_head = 2 * tonumber(ARGV[i + 4]) < redis.call('llen', KEYS[1])
  if redis.call('lrem', KEYS[1], near_head and 1 or -1, ARGV[i]) > 0 then
    if kept > 0 then
      redis.call('rpush', KEYS[2], ARGV[i])
    end
    for place = tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3]) do
      let_go(KEYS[place], ARGV[i + 1])
    end
    gone = gone + 1
  end
end
if gone > 0 and kept > 0 then
  redis.call('expire', KEYS[2], kept)
end
return gone
