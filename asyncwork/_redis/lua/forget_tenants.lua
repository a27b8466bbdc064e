-- Makes a fair queue a plain one, unless jobs of it wait or run.
-- KEYS    the set of fair queues, then the keys of the fair queue, as `tenants` reads them
-- ARGV    the name of the queue; then 1
-- Returns 1 if it is a plain queue now, 0 if jobs wait or run.
-- include tenants
local q = fair_queues[1]
read_options(q)
if length_of(q, '') + redis.call('zcard', q.ring) + redis.call('scard', q.held) + redis.call('hlen', q.running) > 0 then
  return 0
end
redis.call('del', q.options, q.settings, q.order, q.bell, q.opens, q.rests, q.waiting)
redis.call('srem', KEYS[1], ARGV[1])
return 1
