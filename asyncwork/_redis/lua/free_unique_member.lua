-- Starts a unique job that is a member of a batch, as `free_unique` does. If a newer job runs in its place, notes in the
-- batch that the member was cancelled, because it will never run.
-- KEYS    scheduled, the hash of cancels, the set of open batches, the hash of unique flows, five for the batch, then
--         those of `free_unique`
-- ARGV    the member's number in the batch, then those of `free_unique`
-- Returns what `free_unique` does.
-- include settle_member
local function free_unique(KEYS, ARGV)
-- include free_unique
end
local reply = free_unique({unpack(KEYS, 10)}, {unpack(ARGV, 2)})
if reply[2] then
  settle_member(5, ARGV[1], 'cancelled')
  end_batches(KEYS[1], KEYS[2], KEYS[3], KEYS[4])
end
return reply
