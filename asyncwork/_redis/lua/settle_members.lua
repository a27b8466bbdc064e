-- Notes in batches how members have ended that are nowhere any more. A second call does nothing.
-- KEYS    scheduled, the hash of cancels, the set of open batches, the hash of unique flows, five for each batch
-- ARGV    for each member: the number in KEYS of the first key of its batch, its number in the batch, how it has ended
--         ('done', 'failed' or 'cancelled')
-- Returns 1 if jobs are due now, else 0.
-- include settle_member
-- include allow_when_oom
allow_when_oom(KEYS[1])
for i = 1, #ARGV, 3 do
  settle_member(tonumber(ARGV[i]), ARGV[i + 1], ARGV[i + 2])
end
return end_batches(KEYS[1], KEYS[2], KEYS[3], KEYS[4])
