-- Shared by scripts with `-- include tenants`: a fair queue, whose tenants take turns. The jobs of a tenant wait in a
-- list of its own; those of the tenant '' in the queue's plain list, where other programs push.
-- A tenant with waiting jobs is in the ring, by its turn, if one of them may start, and else among those held: at the
-- concurrency limit, paused, or waiting for the retry of an ordered job. One that is held only until its next token
-- comes, or because it rests, is also in the sorted set `opens`, by the time at which it may go on, microseconds since
-- the epoch. `rests` holds the ends of the rests in the same way. The hash of running jobs is the number of each tenant's
-- jobs in all in-progress lists. The bell is a list of one element, which exists while anyone is in the ring, and after a
-- tenant was put into `opens` before all others: idle pools block on it.
-- `waiting` is how many jobs of named tenants wait. It is kept only while the queue has a limit of how many may wait in all.
-- The keys of a fair queue are the last ones in KEYS, in the order of FIELDS below, and the last argument is the number
-- of fair queues. Both are removed here. The name of a tenant's list is the last of these keys with the tenant behind
-- it, and that of its tokens the one before with the tenant behind it, so they are in the same hash slot.
-- include rate
local FIELDS = {'plain', 'options', 'ring', 'running', 'held', 'order', 'settings', 'bell', 'opens', 'rests', 'waiting',
  'tokens', 'lists'}
-- More jobs would not fit on Lua's stack.
local MOST_TAKEN = 1000
-- How many jobs at the front of the plain list are read at once, because some may belong to other tenants; and how
-- often in one step.
local MOST_SORTED, MOST_SORTINGS = 64, 16
local LONGEST_TENANT = 200
-- Seconds for which jobs that wait are counted after an enqueue has asked how many there are.
local KEPT_COUNT = 3600
-- How many tenants whose next token has come are given a turn in one step.
local MOST_OPENED = 1000
local fair_queues, by_plain = {}, {}
for _ = 1, tonumber(table.remove(ARGV)) do
  local q, first = {ended = {}, started = {}, removed = {}, delayed = {}, returned = {}, touched = false}, #KEYS - #FIELDS
  for at = #FIELDS, 1, -1 do
    q[FIELDS[at]] = KEYS[first + at]
    KEYS[first + at] = nil
  end
  fair_queues[#fair_queues + 1] = q
  by_plain[q.plain] = q
end

local function field_of_job(payload, field)
  local is_job, job = pcall(cjson.decode, payload)
  local value = is_job and type(job) == 'table' and job[field]
  return type(value) == 'string' and value or ''
end

-- Returns the tenant of a payload. It is the last field of a new job, so few jobs have to be decoded.
local PART = ',"partition"' .. ':"'
local function tenant_of(payload)
  local tail = string.sub(payload, -#PART - LONGEST_TENANT - 2)
  local at = string.find(tail, PART, 1, true)
  local tenant = at and string.match(tail, '^([^"\\]*)"}$', at + #PART)
  if tenant then
    return tenant
  end
  if not string.find(payload, '"partition"', 1, true) then
    return ''
  end
  tenant = field_of_job(payload, 'partition')
  return #tenant <= LONGEST_TENANT and tenant or ''
end

local function list_of(q, tenant)
  return tenant == '' and q.plain or q.lists .. tenant
end

local function length_of(q, tenant)
  -- pcall: a list may be of another type. Then its tenant has no jobs.
  local length = redis.pcall('llen', list_of(q, tenant))
  return type(length) == 'number' and length or 0
end

-- pcall, here and below: a key of another type must not keep jobs from running.
-- only_reads: whether the script changes nothing.
local function read_options(q, only_reads)
  if not q.limit then
    local options = redis.pcall('get', q.options)
    options = type(options) == 'string' and options or options and '' or nil
    local limit, most, ordered, rate = string.match(options or '', '^(%d+) (%d+) ([01]) ?(%S*)$')
    q.limit, q.most, q.ordered = tonumber(limit) or 0, tonumber(most) or 0, ordered == '1'
    q.rate = rate and rate ~= '' and read_rate(rate) or nil
    -- If not, no pool has declared it, or Redis has lost that. Then all jobs go to the plain list.
    q.is_fair = options ~= nil
    local more = redis.call('exists', q.settings, q.opens, q.rests, q.waiting)
    q.has_settings = more > 0 and redis.call('exists', q.settings) == 1
    local waiting = more > 0 and redis.pcall('get', q.waiting)
    q.is_counted = type(waiting) == 'string' and string.match(waiting, '^%-?%d+$') ~= nil
    q.has_opens = more > 0 and redis.call('exists', q.opens, q.rests) > 0
    if only_reads then return end
    -- Nothing may fail after a job has left one list, and before it is counted. The contents of these keys are derived.
    if type(redis.pcall('zcard', q.ring)) ~= 'number' then redis.call('del', q.ring) end
    if type(redis.pcall('hlen', q.running)) ~= 'number' then redis.call('del', q.running) end
    if type(redis.pcall('scard', q.held)) ~= 'number' then redis.call('del', q.held) end
    if type(redis.pcall('hlen', q.order)) ~= 'number' then redis.call('del', q.order) end
    if q.has_opens then
      if type(redis.pcall('zcard', q.opens)) ~= 'number' then redis.call('del', q.opens) end
      if type(redis.pcall('zcard', q.rests)) ~= 'number' then redis.call('del', q.rests) end
    end
  end
end

-- Adds to the number of jobs that wait in the lists of named tenants, if it is kept.
local function add_waiting(q, tenant, count)
  if q.is_counted and tenant ~= '' then redis.call('incrby', q.waiting, count) end
end

-- Adds to the number of running jobs of a tenant; returns it.
local function add_running(q, tenant, count)
  local running = redis.pcall('hincrby', q.running, tenant, count)
  if type(running) ~= 'number' or running <= 0 then
    redis.call('hdel', q.running, tenant)
    running = 0
  end
  return running
end

local function parse_settings(q, text)
  local limit, weight, paused, rate = q.limit, 1, false, q.rate
  if type(text) == 'string' then
    local own_limit, own_weight, state, own_rate = string.match(text, '^(%S+) (%S+) ([01]) ?(%S*)$')
    limit, weight, paused = tonumber(own_limit) or limit, tonumber(own_weight) or 1, state == '1'
    if not (weight >= 0.01 and weight <= 100) then weight = 1 end
    if own_rate == 'none' then rate = nil elseif own_rate ~= '' then rate = read_rate(own_rate) or rate end
  end
  return q.ordered and 1 or limit, weight, paused, rate
end

-- Returns how many jobs of a tenant may run at once (0 for any number), its weight, whether it is paused, and its rate, nil
-- if it has none.
local function settings_of(q, tenant)
  read_options(q)
  return parse_settings(q, q.has_settings and redis.pcall('hget', q.settings, tenant))
end

local function is_waiting_for_retry(q, tenant)
  return q.ordered and redis.pcall('hexists', q.order, tenant) == 1
end

local clock
local function now_micros()
  if not clock then
    local time = redis.call('time')
    clock = time[1] * 1000000 + time[2]
  end
  return clock
end

-- Returns when a tenant may go on that has no token or rests, microseconds since the epoch; nil if it may now.
local function opening_of(q, tenant, rate)
  local at = q.has_opens and tonumber(redis.pcall('zscore', q.rests, tenant)) or 0
  if rate then
    local _, left, micros = take_tokens(q.tokens .. tenant, rate, 0)
    if left == 0 then at = math.max(at, now_micros() + micros) end
  end
  return at > 0 and at > now_micros() and at or nil
end

local function hold_until(q, tenant, at)
  redis.call('sadd', q.held, tenant)
  redis.call('zadd', q.opens, at, tenant)
  q.has_opens = true
end

-- Gives a tenant with waiting jobs a turn, or holds it. Its turn is one after the lowest in the ring, whatever it was
-- before: so silence brings no credit, and a tenant that comes again and again is not served before those that wait. One
-- whose job was taken, and comes back because it has not begun, has not had its turn: it is among the next.
local function enter(q, tenant)
  local limit, weight, paused, rate = settings_of(q, tenant)
  local running = limit > 0 and tonumber(redis.pcall('hget', q.running, tenant)) or 0
  if paused or limit > 0 and running >= limit or is_waiting_for_retry(q, tenant) then
    redis.call('sadd', q.held, tenant)
    return
  end
  local opening = (rate or q.has_opens) and opening_of(q, tenant, rate)
  if opening then
    local first = redis.call('zrange', q.opens, 0, 0, 'WITHSCORES')[2]
    if not first or opening < tonumber(first) then q.wakes, q.touched = true, true end
    hold_until(q, tenant, opening)
    return
  end
  local lowest = redis.call('zrange', q.ring, 0, 0, 'WITHSCORES')[2]
  redis.call('zadd', q.ring, 'NX', lowest and tonumber(lowest) + (q.returned[tenant] and 0 or 1 / weight) or 0, tenant)
  q.touched = true
end

-- Gives a tenant the turn again in which a job was taken that comes back.
local function return_turn(q, tenant)
  q.returned[tenant] = true
  local turn = tonumber(redis.call('zscore', q.ring, tenant))
  if turn then
    local _, weight = settings_of(q, tenant)
    local lowest = tonumber(redis.call('zrange', q.ring, 0, 0, 'WITHSCORES')[2])
    redis.call('zadd', q.ring, math.max(lowest, turn - 1 / weight), tenant)
  end
end

-- Checks a tenant again that was held. One that waits for a token goes on doing so.
local function release(q, tenant)
  if q.has_opens and redis.call('zscore', q.opens, tenant) then return end
  if redis.call('srem', q.held, tenant) == 1 and length_of(q, tenant) > 0 then
    enter(q, tenant)
  end
end

-- Has a tenant without waiting jobs leave.
local function leave_if_empty(q, tenant)
  if length_of(q, tenant) == 0 then
    q.touched = redis.call('zrem', q.ring, tenant) == 1 or q.touched
    redis.call('srem', q.held, tenant)
    if q.has_opens then redis.call('zrem', q.opens, tenant) end
  end
end

-- Checks again the tenants whose next token has come, and those whose rest has ended; returns how many there were.
local function open_due(q)
  if not q.has_opens then return 0 end
  redis.call('zremrangebyscore', q.rests, '-inf', now_micros())
  local due = redis.call('zrangebyscore', q.opens, '-inf', now_micros(), 'LIMIT', 0, MOST_OPENED)
  for _, tenant in ipairs(due) do
    redis.call('zrem', q.opens, tenant)
    release(q, tenant)
  end
  return #due
end

-- Returns in how many microseconds the next of the tenants that are held may go on; 0 if none waits for a time.
local function next_opening(q)
  local first = q.has_opens and redis.call('zrange', q.opens, 0, 0, 'WITHSCORES')[2]
  return first and math.max(1, tonumber(first) - now_micros()) or 0
end

-- Checks every condition of a tenant again.
local function review(q, tenant)
  q.touched = redis.call('zrem', q.ring, tenant) == 1 or q.touched
  redis.call('srem', q.held, tenant)
  if q.has_opens then redis.call('zrem', q.opens, tenant) end
  if length_of(q, tenant) > 0 then
    enter(q, tenant)
  end
end

-- Has no job of a tenant start before a time.
local function rest_until(q, tenant, at)
  read_options(q)
  redis.call('zadd', q.rests, at, tenant)
  q.has_opens = true
  review(q, tenant)
end

-- Puts a job into the list of its tenant; returns the length of that. The retry of an ordered job comes first.
local function put(q, verb, payload, tenant)
  read_options(q)
  if not q.is_fair then tenant = '' end
  if q.ordered then
    local id = redis.pcall('hget', q.order, tenant)
    if type(id) == 'string' and id == field_of_job(payload, 'id') then
      redis.call('rpush', list_of(q, tenant), payload)
      add_waiting(q, tenant, 1)
      redis.call('hdel', q.order, tenant)
      review(q, tenant)
      return 1
    end
  end
  local length = redis.call(verb, list_of(q, tenant), payload)
  add_waiting(q, tenant, 1)
  if length == 1 then enter(q, tenant) end
  return length
end

-- Has the tenant of the plain list, to which other programs push, enter or leave.
local function enter_plain(q)
  if length_of(q, '') == 0 then
    leave_if_empty(q, '')
  elseif not redis.call('zscore', q.ring, '') and redis.call('sismember', q.held, '') == 0 then
    enter(q, '')
  end
end

-- Moves jobs that other programs have put into the plain list to their tenants. Those at its front that stay are counted
-- in `unsorted`.
local function sort_plain(q)
  q.unsorted = 0
  if length_of(q, '') == 0 then return end
  local some = redis.call('lrange', q.plain, -MOST_SORTED, -1)
  for at = #some, 1, -1 do
    local tenant = q.is_fair and tenant_of(some[at]) or ''
    -- Its list is written first: if it is not a list, the job stays.
    if tenant ~= '' and type(redis.pcall('llen', list_of(q, tenant))) == 'number' then
      put(q, 'lpush', some[at], tenant)
      redis.call('lrem', q.plain, -1, some[at])
    else
      q.unsorted = q.unsorted + 1
    end
  end
  enter_plain(q)
end

-- Returns those of some tenants in the ring whose jobs may start, with what their turns depend on, and how many tenants
-- there were. Those without jobs leave.
-- flat: the tenants, each with its turn.
local function candidates_of(q, flat)
  local names, found = {}, {}
  for at = 1, #flat, 2 do names[#names + 1] = flat[at] end
  if #names == 0 then return found, 0 end
  local running = (q.limit > 0 or q.ordered or q.has_settings) and redis.pcall('hmget', q.running, unpack(names)) or {}
  local settings = q.has_settings and redis.pcall('hmget', q.settings, unpack(names)) or {}
  for at, name in ipairs(names) do
    local waiting = length_of(q, name)
    local limit, weight, _, rate = parse_settings(q, settings[at])
    local room = limit > 0 and limit - (tonumber(running[at]) or 0) or waiting
    local tokens, micros
    if rate and room > 0 and waiting > 0 then
      q.has_rates = true
      _, tokens, micros = take_tokens(q.tokens .. name, rate, 0)
    end
    if waiting == 0 then
      redis.call('zrem', q.ring, name)
    elseif room <= 0 then
      redis.call('zrem', q.ring, name)
      redis.call('sadd', q.held, name)
    elseif tokens == 0 then
      redis.call('zrem', q.ring, name)
      hold_until(q, name, now_micros() + micros)
    else
      found[#found + 1] = {
        name = name, turn = tonumber(flat[2 * at]), step = 1 / weight, waiting = waiting,
        left = math.min(waiting, room, tokens or room), jobs = 0
      }
      if rate then found[#found].rate, found[#found].room = rate, room end
      if name == '' and q.unsorted < found[#found].left then
        found[#found].left, found[#found].has_more = q.unsorted, true
        if q.unsorted == 0 then
          -- Nothing is known of its jobs: they may be those of other tenants. It enters again when they were read, so
          -- that its turn is not left behind by those of others.
          found[#found] = nil
          redis.call('zrem', q.ring, name)
        end
      end
    end
  end
  return found, #names
end

-- Decides whose job is the next, again and again; returns one entry for each job. The order of the candidates stays that
-- of their turns: one that has had its turn goes back to its place, which is near the end.
local function deal(order, wanted)
  local dealt, first, last = {}, 1, #order
  while #dealt < wanted and first <= last do
    local tenant = order[first]
    first = first + 1
    dealt[#dealt + 1] = tenant
    tenant.jobs, tenant.left, tenant.turn = tenant.jobs + 1, tenant.left - 1, tenant.turn + tenant.step
    if tenant.left > 0 then
      local at = last
      while at >= first and order[at].turn > tenant.turn do
        order[at + 1] = order[at]
        at = at - 1
      end
      order[at + 1] = tenant
      last = last + 1
    end
  end
  return dealt
end

-- Takes the jobs that were dealt from their lists, and gives their tenants their next turns.
local function take_dealt(q, dealt, taken)
  local turns, at = {}, #taken
  for _, tenant in ipairs(dealt) do
    if not tenant.popped then
      tenant.popped = redis.call('rpop', list_of(q, tenant.name), tenant.jobs)
      tenant.at = 0
      add_waiting(q, tenant.name, -tenant.jobs)
      if tenant.name ~= '' then
        add_running(q, tenant.name, tenant.jobs)
      else
        for _, payload in ipairs(tenant.popped) do add_running(q, tenant_of(payload), 1) end
      end
      local micros
      if tenant.rate then
        _, _, micros = take_tokens(q.tokens .. tenant.name, tenant.rate, tenant.jobs)
      end
      if tenant.left > 0 or tenant.has_more then
        turns[#turns + 1] = tenant.turn
        turns[#turns + 1] = tenant.name
      else
        redis.call('zrem', q.ring, tenant.name)
        if tenant.waiting > tenant.jobs then
          -- Its limit has room, so that only tokens are missing. Redis's clock goes on within a script, and the next one
          -- may have come by now. Then the next fetch gives it a turn.
          if tenant.rate and tenant.room > tenant.jobs then
            hold_until(q, tenant.name, now_micros() + micros)
          else
            redis.call('sadd', q.held, tenant.name)
          end
        end
      end
    end
    tenant.at = tenant.at + 1
    at = at + 1
    taken[at] = tenant.popped[tenant.at]
  end
  if #turns > 0 then redis.call('zadd', q.ring, unpack(turns)) end
end

-- Takes note of how many jobs were taken. The reply of the fetch says when the next tenant may go on, so that no other pool
-- has to be woken for it.
local function note_taken(q, taken)
  if q.unsorted == 0 then enter_plain(q) end
  q.touched, q.counted, q.was_read, q.wakes = true, #taken > 0, true, false
end

-- Takes up to a number of jobs, the tenants in turns.
local function take(q, wanted)
  read_options(q)
  local taken = {}
  wanted = math.min(wanted, MOST_TAKEN)
  open_due(q)
  local sortings = 0
  repeat
    sort_plain(q)
    sortings = sortings + 1
    local next_ones = redis.call('zrange', q.ring, 0, wanted - #taken - 1, 'WITHSCORES')
    local candidates, looked = candidates_of(q, next_ones)
    take_dealt(q, deal(candidates, wanted - #taken), taken)
  until looked == 0 or #taken >= wanted or (#candidates == 0 and sortings >= MOST_SORTINGS)
  note_taken(q, taken)
  return #taken > 0 and taken or false
end

-- Counts jobs that were put into an in-progress list in another way.
local function count_running(q, payloads)
  read_options(q)
  for _, payload in ipairs(payloads) do
    local tenant = tenant_of(payload)
    add_running(q, tenant, 1)
    q.started[tenant] = true
  end
end

local function count_ended(q, payload, count)
  local tenant = tenant_of(payload)
  q.ended[tenant] = (q.ended[tenant] or 0) + count
  q.removed[#q.removed + 1] = payload
end

-- Has tenants of ordered jobs wait for those that have left their in-progress list to run again later.
local function hold_for_delayed(q)
  if not next(q.delayed) then return end
  for _, payload in ipairs(q.removed) do
    local id = field_of_job(payload, 'id')
    local tenant = q.delayed[id]
    if tenant then
      q.delayed[id] = nil
      redis.call('hset', q.order, tenant, id)
      review(q, tenant)
    end
  end
end

-- Returns how many jobs of all tenants wait. They are counted once, and from then on as they come and go.
local function waiting_of(q)
  if not q.is_counted then
    local sum = 0
    for _, tenant in ipairs(redis.call('zrange', q.ring, 0, -1)) do
      if tenant ~= '' then sum = sum + length_of(q, tenant) end
    end
    for _, tenant in ipairs(redis.call('smembers', q.held)) do
      if tenant ~= '' then sum = sum + length_of(q, tenant) end
    end
    redis.call('set', q.waiting, sum)
    q.is_counted = true
  end
  -- Without a limit no enqueue asks again, and then nothing is counted.
  redis.call('expire', q.waiting, KEPT_COUNT)
  return redis.call('get', q.waiting) + length_of(q, '')
end

-- To be called once, at the end: counts the jobs that have left, gives their tenants the turns for which they waited, and
-- keeps the bell.
local function settle_tenants()
  for _, q in ipairs(fair_queues) do
    hold_for_delayed(q)
    for tenant, count in pairs(q.ended) do
      read_options(q)
      add_running(q, tenant, -count)
      if q.limit > 0 or q.ordered or q.has_settings then release(q, tenant) end
    end
    for tenant in pairs(q.started) do review(q, tenant) end
    if q.touched then
      local rung = redis.pcall('llen', q.bell)
      if redis.call('exists', q.ring) == 0 and not q.wakes then
        redis.call('del', q.bell)
      elseif rung ~= 1 then
        redis.call('del', q.bell)
        redis.call('lpush', q.bell, 1)
      end
    end
  end
end
