-- Removes jobs of one queue that have ended from the in-progress list, frees the keys that they hold, and removes their
-- marks if they were to be cancelled. Idempotent: only the call that removes a job does the rest. Those with a record
-- have `end_holder`.
-- KEYS    in-progress, lock, lock_info, the hash of cancels, scheduled, queue, then for each job: hold
-- ARGV    pool id, then for each job: payload, the job's id
-- Returns how many were in progress here.
-- include sync_share
-- include free_hold
-- include allow_when_oom
allow_when_oom(KEYS[1])
local removed = 0
local are_marked = redis.call('exists', KEYS[4]) == 1
for i = 7, #KEYS do
  local payload, id = ARGV[2 * i - 12], ARGV[2 * i - 11]
  if redis.call('lrem', KEYS[1], -1, payload) == 1 then
    removed = removed + 1
    if are_marked then
      -- pcall: the key may hold another type.
      redis.pcall('hdel', KEYS[4], id)
    end
    free_hold(KEYS[i], id, KEYS[5], KEYS[6])
  end
end
if removed > 0 then
  sync_share(KEYS[1], KEYS[2], KEYS[3], ARGV[1])
end
return removed
