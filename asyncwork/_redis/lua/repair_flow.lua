-- Repairs a flow that is stuck, so that it goes on: counts again how the nodes that others follow have ended, acts on nodes
-- whose turn has come or will never come, and removes jobs that cannot be read, so that their nodes fail when their turn
-- comes. While steps of the flow are left, it only takes these. A second call does nothing.
-- KEYS    scheduled, the hash of cancels, the set of open batches, the hash of unique flows, five for the flow
-- ARGV    the entry by which steps that are left are gone on with, the number of the nodes whose jobs cannot be read, the
--         number of the nodes that are stuck, and the former; the latter, each with the first number of its set; then for
--         each set that is to be counted anew: its first number, its field as it was found, the number of the ranges of
--         nodes that it follows, and each range: its first number, how many they are
-- Returns how many sets and nodes were corrected.
-- include settle_member
-- include count_nodes
-- include allow_when_oom
allow_when_oom(KEYS[1])
local batch = batch_at(5)
if not batch or not batch.flow then
  return 0
end
local flow = flows()
local nodes, corrected = flow.nodes_of(5, batch), 0
if not nodes.is_hash then
  return 0
end
redis.call('hsetnx', KEYS[9], 'settle', ARGV[1])
batch.changed = true
if nodes.had_rest then
  end_batches(KEYS[1], KEYS[2], KEYS[3], KEYS[4])
  return 0
end
local unreadable, stuck = tonumber(ARGV[2]), tonumber(ARGV[3])
local after_nodes = 4 + unreadable
local at = after_nodes + 2 * stuck
local count_range, moved = counter_of(nodes), {}

local function decide_again(number, set)
  local before = set.state
  set.changed, corrected = true, corrected + 1
  flow.decide(nodes, number, set)
  moved[number] = moved[number] or set.state ~= before
end

while at <= #ARGV do
  local number, ranges = tonumber(ARGV[at]), tonumber(ARGV[at + 2])
  local set = redis.call('hget', KEYS[9], 'set:' .. number) == ARGV[at + 1] and flow.set_of(nodes, number)
  if set then
    set.left, set.bad, set.skipped = 0, 0, 0
    for i = at + 3, at + 1 + 2 * ranges, 2 do
      count_range(set, tonumber(ARGV[i]), tonumber(ARGV[i + 1]))
    end
    decide_again(number, set)
  end
  at = at + 3 + 2 * ranges
end
for i = 4, after_nodes - 1 do
  corrected = corrected + redis.call('hdel', KEYS[9], 'job:' .. ARGV[i])
end
local STEPS = {released = 'release', cancelled = 'cancel', skipped = 'skip'}
for i = after_nodes, after_nodes + 2 * stuck - 2, 2 do
  local node, number = tonumber(ARGV[i]), tonumber(ARGV[i + 1])
  local set = redis.pcall('getbit', KEYS[6], node) == 0 and flow.set_of(nodes, number)
  if set and set.state == 'waiting' then
    decide_again(number, set)
  elseif set and not moved[number] and STEPS[set.state]
    and (set.state ~= 'released' or redis.call('hexists', KEYS[9], 'job:' .. node) == 1)
  then
    corrected = corrected + 1
    flow.add_step(nodes, STEPS[set.state], node, 1, number)
  end
end
end_batches(KEYS[1], KEYS[2], KEYS[3], KEYS[4])
return corrected
