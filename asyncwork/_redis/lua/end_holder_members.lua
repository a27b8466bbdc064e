-- Ends members of batches that free the keys that they hold, as `end_holder` does, and notes that in their batches.
-- KEYS    scheduled, the hash of cancels, the set of open batches, the hash of unique flows, five for each batch, then for
--         each member those of `end_holder`
-- ARGV    the number of the batches, then for each member what `settle_calls` says, with the arguments of `end_holder`
-- Returns {ended, due}. ended: how many have ended. due: 1 if jobs are due now, else 0.
-- include settle_calls
local function run(KEYS, ARGV)
-- include end_holder
end
return settle_calls(run)
