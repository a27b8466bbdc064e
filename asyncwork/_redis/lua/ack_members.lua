-- Removes members of batches that have ended, and have no record, from the in-progress list of one queue, and notes in
-- their batches how they have ended. Idempotent: only the call that removes a member does that.
-- KEYS    in-progress, lock, lock_info, the hash of cancels, scheduled, the set of open batches, the hash of
--         unique flows, five for each batch
-- ARGV    pool id, then for each member: its payload, its id, the number in KEYS of the first key of its batch, its number
--         in the batch, how it has ended ('done', 'failed' or 'cancelled'; for a node of a flow, 'done' may be followed
--         by a blank and its result)
-- Returns 1 if jobs are due now, else 0. The search begins at the tail, where the oldest are.
-- include sync_share
-- include settle_member
-- include allow_when_oom
allow_when_oom(KEYS[1])
local removed = 0
local are_marked = redis.call('exists', KEYS[4]) == 1
for i = 2, #ARGV, 5 do
  if redis.call('lrem', KEYS[1], -1, ARGV[i]) == 1 then
    removed = removed + 1
    if are_marked then
      -- pcall: the key may hold another type.
      redis.pcall('hdel', KEYS[4], ARGV[i + 1])
    end
    settle_member(tonumber(ARGV[i + 2]), ARGV[i + 3], ARGV[i + 4])
  end
end
if removed > 0 then
  sync_share(KEYS[1], KEYS[2], KEYS[3], ARGV[1])
end
return end_batches(KEYS[5], KEYS[4], KEYS[6], KEYS[7])
