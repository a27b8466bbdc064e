-- Enqueues jobs of a fair queue, each in the list of its tenant. If any of these lists would hold more than its limit,
-- none is enqueued. In a queue that no pool has declared fair, they go to the plain list.
-- KEYS    the keys of the fair queue, as `tenants` reads them
-- ARGV    1 if they go to the front; then for each job: its tenant, its payload; then 1
-- Returns how many were enqueued. An error QUEUEFULL says how many jobs of that tenant wait, the limit, and the tenant.
-- include tenants
local q = fair_queues[1]
local verb = ARGV[1] == '1' and 'rpush' or 'lpush'
read_options(q)
local is_fair = redis.call('exists', q.options) == 1
if is_fair and q.most > 0 then
  local more = {}
  for i = 2, #ARGV, 2 do
    local tenant = ARGV[i]
    more[tenant] = (more[tenant] or length_of(q, tenant)) + 1
    if more[tenant] > q.most then
      return redis.error_reply('QUEUEFULL ' .. length_of(q, tenant) .. ' ' .. q.most .. ' ' .. tenant)
    end
  end
end
for i = 2, #ARGV, 2 do
  if is_fair then
    put(q, verb, ARGV[i + 1], ARGV[i])
  else
    redis.call(verb, q.plain, ARGV[i + 1])
  end
end
settle_tenants()
return (#ARGV - 1) / 2
