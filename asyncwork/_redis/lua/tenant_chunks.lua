-- Shared by the variants of fetches whose jobs run in chunks, after `fair_list`: the jobs of a chunk belong to one
-- tenant. So the turn of a tenant is a chunk, however many jobs that has.
-- Before the number of fair queues, the last arguments are: for each tenant whose chunk the pool collects: its name,
-- for how many more jobs that has room; how many tenants these are; how many jobs of another one may be taken (0 for none).
-- So many tenants at the front of the ring are checked in one step until one of them may have a turn.
local MOST_CHECKED = 16
local MOST_STEPS = 64
local collected, rooms, most_of_others = {}, {}, tonumber(table.remove(ARGV))
for _ = 1, tonumber(table.remove(ARGV)) do
  local room = tonumber(table.remove(ARGV))
  local tenant = table.remove(ARGV)
  rooms[tenant] = room
  collected[#collected + 1] = tenant
end

-- Has up to a number of jobs of a tenant dealt, for which its turn moves on once.
local function deal_chunk(dealt, tenant, most, step)
  tenant.first_step, tenant.step = step, 0
  for at = 1, math.min(tenant.left, most) do
    tenant.jobs, tenant.left = tenant.jobs + 1, tenant.left - 1
    if at == 1 then tenant.turn = tenant.turn + step end
    dealt[#dealt + 1] = tenant
  end
end

-- Returns the tenant that is to have the next chunk; nil if none may.
local function next_for_chunk(q)
  for _ = 1, MOST_STEPS do
    local found, looked = candidates_of(q, redis.call('zrange', q.ring, 0, MOST_CHECKED - 1, 'WITHSCORES'))
    for _, tenant in ipairs(found) do
      -- All jobs at the front of the plain list may belong to other tenants.
      if tenant.left > 0 then return tenant end
    end
    if looked == 0 then return nil end
    sort_plain(q)
  end
end

-- Decides whose jobs are taken: first those that complete the chunks which the pool collects, and if there are none, those
-- of the tenant whose turn it is.
local function deal_chunks(q, wanted)
  local dealt, flat = {}, {}
  for _, tenant in ipairs(collected) do
    local turn = redis.call('zscore', q.ring, tenant)
    if turn then
      flat[#flat + 1] = tenant
      flat[#flat + 1] = turn
    end
  end
  for _, tenant in ipairs((candidates_of(q, flat))) do
    -- It has had its turn for that chunk.
    deal_chunk(dealt, tenant, math.min(rooms[tenant.name], wanted - #dealt), 0)
  end
  local tenant = #dealt == 0 and most_of_others > 0 and next_for_chunk(q)
  if tenant then deal_chunk(dealt, tenant, math.min(most_of_others, wanted), tenant.step) end
  return dealt
end

fair_queues[1].deal = deal_chunks

of_queue.rpop = function(q, wanted)
  read_options(q)
  local taken = {}
  open_due(q)
  sort_plain(q)
  take_dealt(q, deal_chunks(q, math.min(tonumber(wanted), MOST_TAKEN)), taken)
  note_taken(q, taken)
  return #taken > 0 and taken or false
end
