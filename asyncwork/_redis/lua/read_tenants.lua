-- Reads the tenants of a fair queue that have jobs, or settings of their own.
-- KEYS    the keys of the fair queue, as `tenants` reads them
-- ARGV    1 if the front job of each tenant is wanted; then 1
-- Returns {limit, most, ordered, tenants}: the options of the queue, and for each tenant: its name, how many jobs wait,
--         how many run, its limit, its weight, 1 if it is paused, its turn or '' if it is held, the id of the job that
--         it waits for or '', its front job or ''. A queue that is not fair has a limit of -1.
-- include tenants
local q = fair_queues[1]
if redis.call('exists', q.options) == 0 then
  return {-1, 0, 0, {}}
end
-- pcall: this only reads, and keys may be of another type.
local function all(reply)
  return reply.err and {} or reply
end
local options = redis.pcall('get', q.options)
local limit, most, ordered = string.match(type(options) == 'string' and options or '', '^(%d+) (%d+) ([01])$')
q.limit, q.most, q.ordered, q.has_settings = tonumber(limit) or 0, tonumber(most) or 0, ordered == '1', true
local seen, found = {}, {}
local function add(tenant)
  if seen[tenant] then return end
  seen[tenant] = true
  local cap, weight, paused = settings_of(q, tenant)
  local running, turn = redis.pcall('hget', q.running, tenant), redis.pcall('zscore', q.ring, tenant)
  local job = redis.pcall('hget', q.order, tenant)
  local front = ARGV[1] == '1' and redis.pcall('lindex', list_of(q, tenant), -1)
  for _, each in ipairs({
    tenant, length_of(q, tenant), tonumber(running) or 0, cap, tostring(weight), paused and 1 or 0,
    type(turn) == 'string' and turn or '', type(job) == 'string' and job or '', type(front) == 'string' and front or ''
  }) do
    found[#found + 1] = each
  end
end
for _, tenant in ipairs(all(redis.pcall('zrange', q.ring, 0, -1))) do add(tenant) end
if length_of(q, '') > 0 then add('') end
for _, tenant in ipairs(all(redis.pcall('smembers', q.held))) do add(tenant) end
for _, key in ipairs({q.running, q.settings, q.order}) do
  for _, tenant in ipairs(all(redis.pcall('hkeys', key))) do add(tenant) end
end
return {q.limit, q.most, q.ordered and 1 or 0, found}
