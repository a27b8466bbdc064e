-- Moves jobs from the in-progress list to the front of their queue, in the order in which they were taken. Fetches on
-- different connections may have brought them in another order. Idempotent.
-- KEYS    in-progress, lock, lock_info, queue
-- ARGV    pool id, payload …, in any order
-- Returns how many were moved.
-- include sync_share
-- include allow_when_oom
allow_when_oom(KEYS[1])
local found, seen, moved = {}, {}, 0
for i = 2, #ARGV do
  local payload = ARGV[i]
  seen[payload] = (seen[payload] or 0) + 1
  local position = redis.call('lpos', KEYS[1], payload, 'RANK', seen[payload])
  if position then found[#found + 1] = {position, payload} end
end
-- The list begins with the job that was taken last.
table.sort(found, function(a, b) return a[1] < b[1] end)
for _, each in ipairs(found) do
  redis.call('rpush', KEYS[4], each[2])
  moved = moved + redis.call('lrem', KEYS[1], 1, each[2])
end
sync_share(KEYS[1], KEYS[2], KEYS[3], ARGV[1])
return moved
