-- Takes the next steps of a flow that had more than one script may take. Idempotent.
-- KEYS    the sorted set of the entry, scheduled, the hash of cancels, the set of open batches, the hash of unique flows,
--         five for the flow
-- ARGV    the entry
-- Returns {taken, due}. taken: 1 if the entry was there, else 0; there is another one in scheduled if steps are left.
--         due: 1 if jobs are due now, else 0.
-- include settle_member
-- include allow_when_oom
allow_when_oom(KEYS[1])
if redis.call('zrem', KEYS[1], ARGV[1]) == 0 then
  return {0, 0}
end
local batch = batch_at(6)
if batch and batch.flow then
  batch.changed = true
end
return {1, end_batches(KEYS[2], KEYS[3], KEYS[4], KEYS[5])}
