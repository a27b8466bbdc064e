-- Adds nodes to a flow, which are counted already. Those before them may have ended meanwhile.
-- KEYS    scheduled, the hash of cancels, the set of open batches, the hash of unique flows, five for the flow
-- ARGV    seconds to keep the nodes, the groups that are added, JSON ('' if none is), the number of fields to set in the
--         hash of the nodes, those fields with their values, then for each set of nodes: its first number, how many they
--         are, when they run ('success', 'done' or 'failure'), the number of the ranges of nodes that they follow, and
--         each range: its first number, how many they are. For nodes whose results are wanted: the first number, how many
--         they are, 'wanted', 0
-- Returns 1 if jobs are due now, else 0.
-- include settle_member
-- include count_nodes
local at = 4 + 2 * tonumber(ARGV[3])
for start = 4, at - 1, 1000 do
  redis.call('hset', KEYS[9], unpack(ARGV, start, math.min(start + 999, at - 1)))
end
if ARGV[2] ~= '' then
  redis.call('hset', KEYS[9], 'groups:' .. redis.call('hincrby', KEYS[9], 'parts', 1), ARGV[2])
end
local batch = batch_at(5)
if not batch or not batch.flow then
  return 0
end
local flow = flows()
local nodes = flow.nodes_of(5, batch)
-- Steps that were not taken yet: the bits of these nodes have changed, and the counts of the sets after them have not.
local pending = {}
for number = nodes.head, nodes.tail - 1 do
  local step = flow.parse_step(redis.call('hget', nodes.key, 'rest:' .. number) or '')
  if step[1] == 'change' then
    pending[#pending + 1] = step
  end
end
local count_bits_of = counter_of(nodes)

-- Counts how the nodes of a range have ended, as far as that was counted in the sets after them.
local function count_range(set, from, count)
  count_bits_of(set, from, count)
  for _, step in ipairs(pending) do
    local both = overlap(from, count, step[2], step[3])
    local less, more = flow.COUNTS[step[5]], flow.COUNTS[step[4]]
    if less then set[less] = set[less] - both end
    if more then set[more] = set[more] + both end
  end
end

-- By field, what is appended to it.
local appended = {}
local function append(start, from, many, text)
  for block = math.floor(from / flow.BLOCK), math.floor((from + many - 1) / flow.BLOCK) do
    local field = start .. block
    appended[field] = appended[field] or {}
    table.insert(appended[field], text)
  end
end

local function add_set(first, count, when, ranges)
  local set = {count = count, when = when, state = 'waiting', left = 0, bad = 0, skipped = 0, changed = true}
  for i = at + 4, at + 2 + 2 * ranges, 2 do
    local from, many = tonumber(ARGV[i]), tonumber(ARGV[i + 1])
    count_range(set, from, many)
    append('next:', from, many, from .. ' ' .. many .. ' ' .. first .. ' ')
  end
  nodes.sets[first] = set
  flow.decide(nodes, first, set)
end

while at <= #ARGV do
  local first, count, when, ranges = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), ARGV[at + 2], tonumber(ARGV[at + 3])
  if when == 'wanted' then
    append('want:', first, count, first .. ' ' .. count .. ' ')
  else
    add_set(first, count, when, ranges)
  end
  at = at + 4 + 2 * ranges
end
for field, texts in pairs(appended) do
  redis.call('hset', nodes.key, field, (redis.call('hget', nodes.key, field) or '') .. table.concat(texts))
end
redis.call('expire', nodes.key, ARGV[1])
batch.changed = true
return end_batches(KEYS[1], KEYS[2], KEYS[3], KEYS[4])
