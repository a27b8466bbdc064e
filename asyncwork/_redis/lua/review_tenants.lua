-- Computes what is derived of a fair queue: how many jobs of each tenant run, who is in the ring and who is held. Safe
-- at any time: the lists of all pools that may hold jobs are read in this step.
-- KEYS    worker_pools, lock_info, then the keys of the fair queue, as `tenants` reads them
-- ARGV    how many tenants of orders follow, each one for whose job nobody needs to wait any more, its id; then other
--         tenants that may have jobs; then 1
-- Returns how many tenants had another number of running jobs, or were not where they belong.
-- include tenants
-- include allow_when_oom
local q = fair_queues[1]
allow_when_oom(q.plain)
read_options(q)
local wrong = 0
local last = 1 + 2 * tonumber(ARGV[1])
for i = 2, last, 2 do
  if redis.call('hget', q.order, ARGV[i]) == ARGV[i + 1] then
    redis.call('hdel', q.order, ARGV[i])
    wrong = wrong + 1
  end
end
-- pcall: keys may be of another type.
local pools = {}
for _, found in ipairs({redis.pcall('smembers', KEYS[1]), redis.pcall('hkeys', KEYS[2])}) do
  for _, pool in ipairs(found.err and {} or found) do pools[pool] = true end
end
local running = {}
for pool in pairs(pools) do
  local some = redis.pcall('lrange', q.plain .. ':' .. pool .. ':inprogress', 0, -1)
  for _, payload in ipairs(some.err and {} or some) do
    local tenant = tenant_of(payload)
    running[tenant] = (running[tenant] or 0) + 1
  end
end
local before, were, flat = {}, {}, redis.call('hgetall', q.running)
for i = 1, #flat, 2 do before[flat[i]] = tonumber(flat[i + 1]) or -1 end
for tenant, count in pairs(before) do
  if count ~= running[tenant] then
    wrong = wrong + 1
    redis.call('hdel', q.running, tenant)
  end
end
for tenant, count in pairs(running) do
  if count ~= before[tenant] then
    redis.call('hset', q.running, tenant, count)
    if not before[tenant] then wrong = wrong + 1 end
  end
end
sort_plain(q)
local ring, held = redis.call('zrange', q.ring, 0, -1), redis.call('smembers', q.held)
for _, tenant in ipairs(ring) do were[tenant] = 'ring' end
for _, tenant in ipairs(held) do were[tenant] = were[tenant] and 'both' or 'held' end
for i = last + 1, #ARGV do were[ARGV[i]] = were[ARGV[i]] or 'nowhere' end
if length_of(q, '') > 0 then were[''] = were[''] or 'nowhere' end
for tenant, was in pairs(were) do
  local limit, _, paused = settings_of(q, tenant)
  local belongs = 'ring'
  if length_of(q, tenant) == 0 then
    belongs = 'nowhere'
  elseif paused or limit > 0 and (running[tenant] or 0) >= limit or is_waiting_for_retry(q, tenant) then
    belongs = 'held'
  end
  if was ~= belongs then
    wrong = wrong + 1
    review(q, tenant)
  end
end
q.touched = true
settle_tenants()
return wrong
