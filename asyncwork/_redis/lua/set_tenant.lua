-- Changes the settings of one tenant of a fair queue.
-- KEYS    the keys of the fair queue, as `tenants` reads them
-- ARGV    tenant, its concurrency limit ('-' for that of the queue), its weight, whether it is paused (1 or 0; 0 also
--         ends its rest), its rate ('-' for that of the queue, 'none' for none), each '' to leave it as it is; then 1
-- Returns {was, is}: its settings before and now, '' for those of the queue; or 0 if no pool has declared the queue
--         fair.
-- include tenants
local q, tenant = fair_queues[1], ARGV[1]
if redis.call('exists', q.options) == 0 then
  return 0
end
if type(redis.pcall('hlen', q.settings)) ~= 'number' then redis.call('del', q.settings) end
local was = redis.call('hget', q.settings, tenant) or ''
local parts, own = {'-', '1', '0', '-'}, {string.match(was, '^(%S+) (%S+) ([01]) ?(%S*)$')}
if own[4] == '' then own[4] = nil end
for i = 1, 4 do
  parts[i] = ARGV[i + 1] ~= '' and ARGV[i + 1] or own[i] or parts[i]
end
local is = table.concat(parts, ' ', 1, parts[4] == '-' and 3 or 4)
if is == '- 1 0' then
  is = ''
  redis.call('hdel', q.settings, tenant)
else
  redis.call('hset', q.settings, tenant, is)
end
read_options(q)
if ARGV[4] == '0' and q.has_opens then redis.call('zrem', q.rests, tenant) end
review(q, tenant)
settle_tenants()
return {was, is}
