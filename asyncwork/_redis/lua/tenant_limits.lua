-- Shared by the variants of `fetch_limited`, after `fair_list` and `tenant_chunks`: shared limits depend on what each job
-- costs, so it is decided whose jobs come next before any is taken. As many of them are taken as the limits allow, in this
-- order; a tenant whose job does not fit keeps its turn.

-- Returns the tenants whose jobs come next, one entry for each job, without taking them.
local function deal_jobs(q, wanted)
  if q.deal then return q.deal(q, wanted) end
  local candidates, looked
  repeat
    -- Again if some had to leave the ring.
    candidates, looked = candidates_of(q, redis.call('zrange', q.ring, 0, wanted - 1, 'WITHSCORES'))
  until #candidates == looked
  return deal(candidates, wanted)
end

-- Returns the jobs that come next as those of a list, the first one last.
of_queue.lrange = function(q, start)
  read_options(q)
  open_due(q)
  sort_plain(q)
  q.dealt = deal_jobs(q, math.min(-tonumber(start), MOST_TAKEN))
  note_taken(q, {})
  local jobs, size = {}, #q.dealt
  for at, tenant in ipairs(q.dealt) do
    tenant.front = tenant.front or redis.call('lrange', list_of(q, tenant.name), -tenant.jobs, -1)
    tenant.seen = (tenant.seen or 0) + 1
    jobs[size + 1 - at] = tenant.front[#tenant.front + 1 - tenant.seen]
  end
  return jobs
end

-- Takes the first of the jobs that were dealt.
local function take_first(q, count)
  local first, dealt, taken = {}, q.dealt, {}
  for at = #dealt, count + 1, -1 do
    local tenant = dealt[at]
    tenant.jobs, tenant.left = tenant.jobs - 1, tenant.left + 1
    -- The turn of a chunk is that of its first job.
    tenant.turn = tenant.turn - (tenant.jobs == 0 and tenant.first_step or tenant.step)
  end
  for at = 1, math.min(count, #dealt) do first[at] = dealt[at] end
  q.dealt = nil
  take_dealt(q, first, taken)
  note_taken(q, taken)
  return #taken > 0 and taken or false
end

local take_without_limits = of_queue.rpop
of_queue.rpop = function(q, wanted)
  if not q.dealt then return take_without_limits(q, wanted) end
  return take_first(q, tonumber(wanted))
end
