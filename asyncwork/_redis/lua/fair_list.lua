-- Shared by the variants of scripts for fair queues, after `tenants`: a `redis` for them, by which the plain list of a
-- fair queue is all of its tenants' lists, and what they do to an in-progress list is counted under the tenants. So each
-- script that moves a job counts it, and none can forget to.
-- `script_name` is the name of the script.
-- include tenants
local ENQUEUES = {enqueue_unique = true, enqueue_holder = true, throttle = true}
local function refuse_if_full(q, tenant)
  read_options(q)
  local waiting = q.most > 0 and length_of(q, tenant) or 0
  if q.most > 0 and waiting >= q.most then
    error({err = 'QUEUEFULL ' .. waiting .. ' ' .. q.most .. ' ' .. tenant})
  end
end

-- The scripts that requeue jobs which have not begun.
local RETURNS = {admit = true, requeue_front = true}
local function put_all(q, verb, payloads)
  local length = 0
  read_options(q)
  for _, payload in ipairs(payloads) do
    local tenant = tenant_of(payload)
    if ENQUEUES[script_name] then refuse_if_full(q, tenant) end
    if RETURNS[script_name] then return_turn(q, q.is_fair and tenant or '') end
    -- An ordered job that waits for an event which is there already comes first, as others for which its tenant waits.
    length = put(q, script_name == 'defer' and q.ordered and 'rpush' or verb, payload, tenant)
  end
  return length
end

-- Returns how many jobs wait. Only a script that enqueues asks for that, because the queue may be full.
local function count_waiting(q)
  read_options(q)
  return waiting_of(q)
end

-- The commands of the scripts on the plain list.
local of_queue = {
  rpop = function(q, wanted) return take(q, tonumber(wanted)) end,
  lpush = function(q, ...) return put_all(q, 'lpush', {...}) end,
  rpush = function(q, ...) return put_all(q, 'rpush', {...}) end,
  -- For other scripts: how many turns are waited for, which says whether there are more jobs.
  llen = ENQUEUES[script_name] and count_waiting or function(q) return length_of(q, '') + redis.call('zcard', q.ring) end,
  exists = function(q)
    return redis.call('exists', q.plain, q.ring) > 0 and 1 or 0
  end,
  lpos = function(q, payload, ...)
    q.located = list_of(q, tenant_of(payload))
    local at = redis.call('lpos', q.located, payload, ...)
    if not at then
      q.located = q.plain
      at = redis.call('lpos', q.plain, payload, ...)
    end
    return at
  end,
  -- Exchanges what `lpos` has found before. With other arguments it may be of another tenant.
  lset = function(q, at, payload)
    local before, tenant = redis.call('lindex', q.located, at), tenant_of(payload)
    if tenant_of(before) == tenant or q.located == q.plain then
      return redis.call('lset', q.located, at, payload)
    end
    read_options(q)
    redis.call('lrem', q.located, 1, before)
    add_waiting(q, tenant_of(before), -1)
    leave_if_empty(q, tenant_of(before))
    return put(q, 'lpush', payload, tenant)
  end,
  lrem = function(q, count, payload)
    read_options(q)
    local tenant = tenant_of(payload)
    local removed = redis.call('lrem', list_of(q, tenant), count, payload)
    if removed > 0 then
      add_waiting(q, tenant, -removed)
      leave_if_empty(q, tenant)
      return removed
    end
    return redis.call('lrem', q.plain, count, payload)
  end
}

-- Their commands on an in-progress list.
local of_in_progress = {
  lpush = function(q, key, ...)
    if not q.counted then count_running(q, {...}) end
    q.counted = false
    return redis.call('lpush', key, ...)
  end,
  rpush = function(q, key, ...)
    count_running(q, {...})
    return redis.call('rpush', key, ...)
  end,
  lrem = function(q, key, count, payload)
    local removed = redis.call('lrem', key, count, payload)
    if removed > 0 then count_ended(q, payload, removed) end
    return removed
  end
}

-- Moves the first element of a list to the front of its tenant's list.
local function move_to_front(q, source)
  local payload = redis.call('lindex', source, 0)
  if payload then
    read_options(q)
    local tenant = q.is_fair and tenant_of(payload) or ''
    return_turn(q, tenant)
    redis.call('lmove', source, list_of(q, tenant), 'LEFT', 'RIGHT')
    add_waiting(q, tenant, 1)
    if length_of(q, tenant) == 1 then enter(q, tenant) end
  end
  return payload
end

-- Returns the fair queue of an in-progress list; false for another key.
local of_lists = {}
local function owner_of(key)
  if of_lists[key] == nil then
    of_lists[key] = false
    if string.sub(key, -11) == ':inprogress' then
      for _, q in ipairs(fair_queues) do
        local start = #q.plain + 1
        if string.sub(key, 1, start) == q.plain .. ':' and string.find(key, ':', start + 1, true) == #key - 10 then
          of_lists[key] = q
        end
      end
    end
  end
  return of_lists[key]
end

-- Has a tenant of an ordered queue wait for a job that is to run again later, or no longer wait for one that has left
-- there.
local function note_order(verb, key, payload)
  for _, q in ipairs(fair_queues) do
    read_options(q)
    local name = q.ordered and field_of_job(payload, 'name') or ''
    if name ~= '' and string.sub(q.plain, -#name - 5) == 'jobs:' .. name then
      local tenant, id = tenant_of(payload), field_of_job(payload, 'id')
      if verb == 'zadd' and script_name == 'restore_to_set' then
        -- A scheduled job may be one that never ran, for which no other job waits.
        if string.find(key, 'retry$') then
          redis.call('hset', q.order, tenant, id)
          review(q, tenant)
        end
      elseif verb == 'zadd' and not string.find(key, 'dead$') and id ~= '' then
        -- If it leaves an in-progress list in this step, it is to run again: not so for a batch's callback.
        q.delayed[id] = tenant
      elseif verb == 'zrem' and redis.call('hget', q.order, tenant) == id then
        redis.call('hdel', q.order, tenant)
        review(q, tenant)
      end
    end
  end
end

-- A job that was rate limited has its tenant rest, instead of the whole queue: `rest_queue` changes the rest of the tenant
-- where it would change the pause of the queue.
local function rest_tenant(q, verb, milliseconds)
  local tenant = tenant_of(ARGV[2])
  if verb == 'set' then
    rest_until(q, tenant, now_micros() + tonumber(milliseconds) * 1000)
    return
  end
  read_options(q)
  local ends = q.has_opens and tonumber(redis.pcall('zscore', q.rests, tenant))
  return ends and math.max(0, math.ceil((ends - now_micros()) / 1000)) or -2
end

-- Whether a job that was taken, and has not begun, must go back: its queue is paused, or its tenant is, or rests.
local function is_closed(q, paused_key)
  local tenant = tenant_of(ARGV[2])
  local _, _, is_paused = settings_of(q, tenant)
  local ends = q.has_opens and tonumber(redis.pcall('zscore', q.rests, tenant)) or 0
  return (is_paused or ends > now_micros() or redis.call('exists', paused_key) == 1) and 1 or 0
end

-- Returns, for each fair queue from which jobs were to be taken and whose tenants have rates or rest, its number and in
-- how many microseconds the next tenant that is held may go on; 0 if none waits for that.
local function openings()
  local found = {}
  for number, q in ipairs(fair_queues) do
    if q.was_read and (q.rate or q.has_rates or q.has_opens) then
      found[#found + 1] = number
      found[#found + 1] = next_opening(q)
    end
  end
  return found
end

local function call(verb, key, ...)
  if not key then return redis.call(verb) end
  local q = by_plain[key]
  if q and of_queue[verb] then
    return of_queue[verb](q, ...)
  end
  if verb == 'lmove' then
    local destination, source = by_plain[(...)], owner_of(key)
    if destination then
      local payload = move_to_front(destination, key)
      if payload and source then count_ended(source, payload, 1) end
      return payload
    end
  elseif of_in_progress[verb] and owner_of(key) then
    return of_in_progress[verb](owner_of(key), key, ...)
  elseif script_name == 'rest_queue' and key == KEYS[5] and fair_queues[1] and (verb == 'set' or verb == 'pttl') then
    return rest_tenant(fair_queues[1], verb, (select(3, ...)))
  elseif script_name == 'admit' and key == KEYS[3] and verb == 'exists' then
    return is_closed(fair_queues[1], key)
  elseif verb == 'zadd' or verb == 'zrem' then
    note_order(verb, key, (select(select('#', ...), ...)))
  end
  return redis.call(verb, key, ...)
end

local fair_redis = setmetatable({
  -- Whether the tenants of a queue may have rates.
  has_rates = function(key)
    local q = by_plain[key]
    if not q then return false end
    read_options(q)
    return q.rate ~= nil or q.has_settings
  end,
  call = call,
  pcall = function(...)
    local is_done, reply = pcall(call, ...)
    if is_done then return reply end
    return type(reply) == 'table' and reply or {err = tostring(reply)}
  end
}, {__index = redis})
