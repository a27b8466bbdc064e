-- Moves waiting jobs of a fair queue to another list, those of one tenant after those of another, the newest of each
-- first.
-- KEYS    the other list, then the keys of the fair queue, as `tenants` reads them
-- ARGV    how many jobs at most, seconds to keep the other list; then 1
-- Returns how many were moved; fewer than the most if no more wait.
-- include tenants
-- include allow_when_oom
local q = fair_queues[1]
allow_when_oom(q.plain)
read_options(q)
local moved, most = 0, tonumber(ARGV[1])
local tenants = redis.call('zrange', q.ring, 0, most)
for _, tenant in ipairs(redis.call('smembers', q.held)) do tenants[#tenants + 1] = tenant end
tenants[#tenants + 1] = ''
for _, tenant in ipairs(tenants) do
  while moved < most and length_of(q, tenant) > 0 do
    redis.call('lmove', list_of(q, tenant), KEYS[1], 'LEFT', 'RIGHT')
    add_waiting(q, tenant, -1)
    moved = moved + 1
  end
  if moved >= most then break end
  leave_if_empty(q, tenant)
end
if moved > 0 then redis.call('expire', KEYS[1], ARGV[2]) end
q.touched = true
settle_tenants()
return moved
