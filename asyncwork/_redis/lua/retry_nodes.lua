-- Notes that nodes of a flow which have failed are tried again: they have not ended, and those that were cancelled because
-- of them wait again. Idempotent: a node that has not failed stays as it is.
-- KEYS    scheduled, the hash of cancels, the set of open batches, the hash of unique flows, five for the flow
-- ARGV    the number of each node
-- Returns how many there were.
-- include settle_member
-- include allow_when_oom
allow_when_oom(KEYS[1])
local batch, count = batch_at(5), 0
if not batch or not batch.flow or redis.call('hexists', KEYS[5], 'cancel') == 1 then
  return 0
end
for _, number in ipairs(ARGV) do
  if redis.pcall('getbit', KEYS[7], number) == 1 then
    redis.call('setbit', KEYS[6], number, 0)
    redis.call('setbit', KEYS[7], number, 0)
    batch.left, batch.failed, batch.changed = batch.left + 1, batch.failed - 1, true
    flows().note(5, batch, tonumber(number), 'failed', 'left')
    count = count + 1
  end
end
end_batches(KEYS[1], KEYS[2], KEYS[3], KEYS[4])
return count
