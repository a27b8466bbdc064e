-- Deletes members of batches from a sorted set, as `delete_from_set` does, and notes that in their batches.
-- KEYS    scheduled, the hash of cancels, the set of open batches, the hash of unique flows, five for each batch, then for
--         each member those of `delete_from_set`
-- ARGV    the number of the batches, then for each member what `settle_calls` says, with the arguments of `delete_from_set`
-- Returns {ended, due}. ended: how many have ended. due: 1 if jobs are due now, else 0.
-- include settle_calls
local function run(KEYS, ARGV)
-- include delete_from_set
end
return settle_calls(run)
