-- Reads the results of nodes of a flow that a job takes as arguments.
-- KEYS    in-progress, the hash of the nodes
-- ARGV    payload, the numbers of the nodes
-- Returns the results in their order, false for a node that has none; 0 if the job is not in progress here.
if type(redis.pcall('lpos', KEYS[1], ARGV[1], 'RANK', -1)) ~= 'number' then
  return 0
end
local results = {}
for start = 2, #ARGV, 1000 do
  local fields = {}
  for i = start, math.min(start + 999, #ARGV) do
    fields[#fields + 1] = 'result:' .. ARGV[i]
  end
  -- pcall: a key of another type has no results.
  local found = redis.pcall('hmget', KEYS[2], unpack(fields))
  for i = 1, #fields do
    results[#results + 1] = found[i] or false
  end
end
return results
