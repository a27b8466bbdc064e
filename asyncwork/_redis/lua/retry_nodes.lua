-- Moves dead nodes of a flow to their queues, as `requeue` does, and notes in the same step that they are tried again: they
-- have not ended, and those that were cancelled because of them wait again. A node that another call has moved stays as
-- it is, however it has ended since then.
-- KEYS    scheduled, the hash of cancels, the set of open batches, the hash of unique flows, five for the flow, then those
--         of `requeue`
-- ARGV    the number of the nodes, the number of each in the flow, then those of `requeue`
-- Returns what `requeue` does.
-- include settle_member
local function run(KEYS, ARGV)
-- include requeue
end
local count = tonumber(ARGV[1])
local keys, args = {unpack(KEYS, 10)}, {unpack(ARGV, count + 2)}
local function is_there(i)
  return redis.call('zscore', keys[1], args[8 * i - 6])
end

local were_there = {}
for i = 1, count do
  were_there[i] = is_there(i)
end
local reply, batch = run(keys, args), batch_at(5)
if not batch or not batch.flow or redis.call('hexists', KEYS[5], 'cancel') == 1 then
  return reply
end
for i = 1, count do
  local node = tonumber(ARGV[i + 1])
  if were_there[i] and not is_there(i) and redis.pcall('getbit', KEYS[7], node) == 1 then
    redis.call('setbit', KEYS[6], node, 0)
    redis.call('setbit', KEYS[7], node, 0)
    batch.left, batch.failed, batch.changed = batch.left + 1, batch.failed - 1, true
    flows().note(5, batch, node, 'failed', 'left')
  end
end
end_batches(KEYS[1], KEYS[2], KEYS[3], KEYS[4])
return reply
