-- Enqueues jobs of a fair queue, each in the list of its tenant. If any of these lists would hold more than its limit,
-- none is enqueued. If the queue may have a limit, they are enqueued in their order as long as no more wait than that
-- allows. In a queue that no pool has declared fair, they go to the plain list.
-- KEYS    if the queue may have a limit: the hash of limits that were set at run time; then the keys of the fair queue, as
--         `tenants` reads them
-- ARGV    1 if they go to the front; for each job: its tenant, its payload; if the queue may have a limit: the job name, and
--         the limit that the enqueuer has (0 for none); then 1
-- Returns how many were enqueued; if the queue may have a limit, {written, waiting, limit}: that number, and if not all of
--         them were, how many jobs wait, and how many may. An error QUEUEFULL says how many jobs of that tenant wait, the
--         limit, and the tenant.
-- include tenants
-- include max_waiting
local q = fair_queues[1]
local verb = ARGV[1] == '1' and 'rpush' or 'lpush'
local last, total, waiting, limit = #ARGV, (#ARGV - 1) / 2, 0, 0
read_options(q)
local is_fair = redis.call('exists', q.options) == 1
if KEYS[1] then
  last, total = #ARGV - 2, (#ARGV - 3) / 2
  limit = max_waiting(KEYS[1], ARGV[last + 1], ARGV[last + 2])
  if limit > 0 then
    waiting = waiting_of(q)
    total = math.max(0, math.min(total, limit - waiting))
    last = 1 + 2 * total
  end
end
if is_fair and q.most > 0 then
  local more = {}
  for i = 2, last, 2 do
    local tenant = ARGV[i]
    more[tenant] = (more[tenant] or length_of(q, tenant)) + 1
    if more[tenant] > q.most then
      return redis.error_reply('QUEUEFULL ' .. length_of(q, tenant) .. ' ' .. q.most .. ' ' .. tenant)
    end
  end
end
for i = 2, last, 2 do
  if is_fair then
    put(q, verb, ARGV[i + 1], ARGV[i])
  else
    redis.call(verb, q.plain, ARGV[i + 1])
  end
end
settle_tenants()
return KEYS[1] and {total, waiting + total, limit} or total
