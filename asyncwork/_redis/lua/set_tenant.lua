-- Changes the settings of one tenant of a fair queue.
-- KEYS    the keys of the fair queue, as `tenants` reads them
-- ARGV    tenant, its concurrency limit ('-' for that of the queue), its weight, whether it is paused (1 or 0), each '' to
--         leave it as it is; then 1
-- Returns {was, is}: its settings before and now, '' for those of the queue; or 0 if no pool has declared the queue fair.
-- include tenants
local q, tenant = fair_queues[1], ARGV[1]
if redis.call('exists', q.options) == 0 then
  return 0
end
if type(redis.pcall('hlen', q.settings)) ~= 'number' then redis.call('del', q.settings) end
local was = redis.call('hget', q.settings, tenant) or ''
local parts, own = {'-', '1', '0'}, {string.match(was, '^(%S+) (%S+) ([01])$')}
for i = 1, 3 do
  parts[i] = ARGV[i + 1] ~= '' and ARGV[i + 1] or own[i] or parts[i]
end
local is = table.concat(parts, ' ')
if is == '- 1 0' then
  is = ''
  redis.call('hdel', q.settings, tenant)
else
  redis.call('hset', q.settings, tenant, is)
end
read_options(q)
review(q, tenant)
settle_tenants()
return {was, is}
