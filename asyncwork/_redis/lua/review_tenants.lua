-- Computes what is derived of a fair queue: how many jobs of each tenant run, who is in the ring and who is held. Safe
-- at any time: the lists of all pools that may hold jobs are read in this step.
-- KEYS    worker_pools, lock_info, then the keys of the fair queue, as `tenants` reads them
-- ARGV    1 to correct what is wrong, 0 only to look; how many tenants of orders follow, each one whose job need not be
--         waited for any more, its id; then other tenants that may have jobs; then 1
-- Returns how many tenants had another number of running jobs, or were not where they belong.
-- include tenants
-- include allow_when_oom
local q = fair_queues[1]
-- Microseconds by which a tenant may be held too long.
local MOST_LATE = 1000000
local corrects = ARGV[1] == '1'
if corrects then allow_when_oom(q.plain) end
read_options(q, not corrects)
-- pcall, here and below: keys may be of another type.
local function all(reply)
  return type(reply) == 'table' and not reply.err and reply or {}
end
-- Its jobs are not ordered any more.
if corrects and not q.ordered then redis.call('del', q.order) end
local wrong = {}
local last = 2 + 2 * tonumber(ARGV[2])
for i = 3, last, 2 do
  if redis.pcall('hget', q.order, ARGV[i]) == ARGV[i + 1] then
    wrong[ARGV[i]] = true
    if corrects then redis.call('hdel', q.order, ARGV[i]) end
  end
end
local pools = {}
for _, found in ipairs({redis.pcall('smembers', KEYS[1]), redis.pcall('hkeys', KEYS[2])}) do
  for _, pool in ipairs(all(found)) do pools[pool] = true end
end
local running = {}
for pool in pairs(pools) do
  for _, payload in ipairs(all(redis.pcall('lrange', q.plain .. ':' .. pool .. ':inprogress', 0, -1))) do
    local tenant = tenant_of(payload)
    running[tenant] = (running[tenant] or 0) + 1
  end
end
local counted, flat = {}, all(redis.pcall('hgetall', q.running))
for i = 1, #flat, 2 do
  local tenant = flat[i]
  counted[tenant] = tonumber(flat[i + 1]) or -1
  if counted[tenant] ~= running[tenant] then
    wrong[tenant] = true
    if corrects then redis.call('hdel', q.running, tenant) end
  end
end
for tenant, count in pairs(running) do
  if count ~= counted[tenant] then
    wrong[tenant] = true
    if corrects then redis.call('hset', q.running, tenant, count) end
  end
end
-- The next fetch would notice the jobs that others have pushed to the plain list, so these are not wrong.
if corrects then sort_plain(q) end
local were = {}
for _, tenant in ipairs(all(redis.pcall('zrange', q.ring, 0, -1))) do were[tenant] = 'ring' end
for _, tenant in ipairs(all(redis.pcall('smembers', q.held))) do were[tenant] = were[tenant] and 'both' or 'held' end
local opens, waiting = {}, all(redis.pcall('zrange', q.opens, 0, -1, 'WITHSCORES'))
for i = 1, #waiting, 2 do
  opens[waiting[i]] = tonumber(waiting[i + 1])
  were[waiting[i]] = were[waiting[i]] or 'nowhere'
end
for i = last + 1, #ARGV do were[ARGV[i]] = were[ARGV[i]] or 'nowhere' end
for tenant, was in pairs(were) do
  local limit, _, paused, rate = settings_of(q, tenant)
  local belongs, opening = 'ring', nil
  if length_of(q, tenant) == 0 then
    belongs = 'nowhere'
  elseif paused or limit > 0 and (running[tenant] or 0) >= limit or is_waiting_for_retry(q, tenant) then
    belongs = 'held'
  else
    opening = opening_of(q, tenant, rate)
  end
  local at, is_wrong = opens[tenant], was ~= belongs or opens[tenant] ~= nil and belongs ~= 'ring'
  if belongs == 'ring' and was == 'held' and at then
    -- It waits for a token, as it should, but for so long only: its rate was changed, or the clock was. One that may go
    -- on is noticed by the next fetch, and so is one in the ring that has no token.
    is_wrong = at > (opening or now_micros()) + MOST_LATE
  elseif belongs == 'ring' and was == 'ring' and at then
    is_wrong = true
  end
  if is_wrong and (corrects or tenant ~= '') then
    wrong[tenant] = true
    if corrects then review(q, tenant) end
  end
end
if corrects then
  q.touched = true
  settle_tenants()
end
local count = 0
if q.is_counted then
  local sum = 0
  for tenant in pairs(were) do
    if tenant ~= '' then sum = sum + length_of(q, tenant) end
  end
  if tonumber(redis.call('get', q.waiting)) ~= sum then
    count = 1
    if corrects then redis.call('set', q.waiting, sum, 'KEEPTTL') end
  end
end
for _ in pairs(wrong) do count = count + 1 end
return count
