-- Lists the names of the tenants of a fair queue, those with a turn first, in their order.
-- KEYS    the keys of the fair queue, as `tenants` reads them
-- ARGV    1 if only the tenants with waiting jobs are wanted; then 1
-- Returns {options, tenants, waiting}: what pools have declared, '' if the queue is not fair; how many jobs of named
--         tenants are counted as waiting, '' if they are not counted.
-- include tenants
local q = fair_queues[1]
-- pcall: this only reads, and keys may be of another type.
local options = redis.pcall('get', q.options)
local replies = {redis.pcall('zrange', q.ring, 0, -1), redis.pcall('smembers', q.held)}
if ARGV[1] ~= '1' then
  replies[#replies + 1] = redis.pcall('zrange', q.opens, 0, -1)
  for _, key in ipairs({q.running, q.order, q.settings}) do
    replies[#replies + 1] = redis.pcall('hkeys', key)
  end
end
local seen, names = {}, {}
local function add(name)
  if not seen[name] then
    seen[name] = true
    names[#names + 1] = name
  end
end
for _, found in ipairs(replies) do
  for _, name in ipairs(found.err and {} or found) do add(name) end
end
if length_of(q, '') > 0 then add('') end
local waiting = redis.pcall('get', q.waiting)
return {type(options) == 'string' and options or '', names, type(waiting) == 'string' and waiting or ''}
