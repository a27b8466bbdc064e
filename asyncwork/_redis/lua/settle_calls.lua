-- Shared by scripts with `-- include settle_calls`: ends members of batches as another script ends jobs, and notes it in
-- their batches in the same step.
-- KEYS    scheduled, the hash of cancels, the set of open batches, the hash of unique flows, five for each batch, then for
--         each member those of the other script
-- ARGV    the number of the batches, then for each member: the number in KEYS of the first key of its batch, its number
--         in the batch, how it has ended ('done', 'failed' or 'cancelled'; '' for what is no end), the number of its
--         keys, the number of its arguments, those arguments
-- run: the other script, as a function of its KEYS and ARGV that returns 1 if it has ended the job.
-- Returns {ended, due}. ended: how many have ended. due: 1 if jobs are due now, else 0.
-- include settle_member
local function settle_calls(run)
  local ended, at, key = 0, 2, 5 + 5 * tonumber(ARGV[1])
  while at <= #ARGV do
    local first, index, state, keys, args = unpack(ARGV, at, at + 4)
    local some_keys = {unpack(KEYS, key, key + tonumber(keys) - 1)}
    local some_args = {unpack(ARGV, at + 5, at + 4 + tonumber(args))}
    at, key = at + 5 + tonumber(args), key + tonumber(keys)
    if run(some_keys, some_args) == 1 then
      ended = ended + 1
      if state ~= '' then
        settle_member(tonumber(first), index, state)
      end
    end
  end
  return {ended, end_batches(KEYS[1], KEYS[2], KEYS[3], KEYS[4])}
end
