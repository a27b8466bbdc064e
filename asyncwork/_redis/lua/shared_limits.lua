-- Shared by scripts with `-- include shared_limits`, after `rate` and `sum_shares`: limits that several job names and
-- other code share. The use is derived from the locks of the job names, which follow the in-progress lists, and from
-- the slots whose lease has not ended, so that no count can be wrong after a crash.

-- Returns what a text 'RATE CONCURRENCY' says, where either may be 'none' or 0; nil if it says nothing.
local function read_limit(text)
  local rate, most = string.match(type(text) == 'string' and text or '', '^(%S+) (%d+)')
  if not rate or (rate ~= 'none' and not read_rate(rate)) then return nil end
  return {rate = read_rate(rate), most = tonumber(most)}
end

-- Returns a limit: as it was set at run time, otherwise as code has it; nil if there is none of that name.
local function limit_of(prefix, name, otherwise)
  -- pcall: a key of another type must block no queue.
  local found = redis.pcall('hmget', prefix .. 'limits', 'set:' .. name, 'code:' .. name)
  if found.err then found = {} end
  local limit = read_limit(found[1]) or read_limit(found[2]) or read_limit(otherwise)
  if limit then limit.tokens = prefix .. 'limit:' .. name end
  return limit
end

-- By job name, the names of its limits, each between spaces.
local limited_jobs
local function read_limited_jobs(prefix)
  limited_jobs = {}
  -- pcall: a key of another type must block no queue.
  local fields = redis.pcall('hgetall', prefix .. 'limits')
  for at = 1, fields.err and 0 or #fields, 2 do
    local job, names = string.match(fields[at], '^job:(.*)$'), string.match(fields[at + 1], '^%S+ %d+( .+)$')
    if job and names then limited_jobs[job] = names .. ' ' end
  end
end

-- Returns how many jobs of a limit run, and how many slots of other code are taken. Drops slots whose lease has ended.
local function used_of(prefix, name)
  local running, slots = 0, prefix .. 'slots:' .. name
  if not limited_jobs then read_limited_jobs(prefix) end
  for job, names in pairs(limited_jobs) do
    if string.find(names, ' ' .. name .. ' ', 1, true) then
      running = running + count_of(redis.pcall('get', prefix .. 'jobs:' .. job .. ':lock'))
    end
  end
  local time = redis.call('time')
  if type(redis.pcall('zremrangebyscore', slots, '-inf', '(' .. time[1])) == 'table' then redis.call('del', slots) end
  return running, redis.call('zcard', slots)
end

-- Returns the limits of the jobs of a name, and what each job costs that does not say it; nil if they have none.
local function limits_of(prefix, name)
  local text = redis.pcall('hget', prefix .. 'limits', 'job:' .. name)
  local cost, names = string.match(type(text) == 'string' and text or '', '^%S+ (%d+) (.+)$')
  if not cost then return nil end
  local limits = {}
  for each in string.gmatch(names, '%S+') do
    local limit = limit_of(prefix, each)
    if limit then
      if limit.rate then limit.spent, limit.left = take_tokens(limit.tokens, limit.rate, 0) end
      if limit.most > 0 then
        local running, slots = used_of(prefix, each)
        limit.free = limit.most - running - slots
      end
      limit.cost = 0
      limits[#limits + 1] = limit
    end
  end
  return #limits > 0 and limits or nil, tonumber(cost)
end

-- Returns what a job costs. It is the last field of a new job, and one of the last after a failure. An argument may have
-- the same name.
local function cost_of(payload, usual)
  local last = string.match(payload, ',"cost"%s*:(%d+)}$') or
    string.match(string.sub(payload, -250), ',"cost"' .. ':(%d+),"partition"' .. ':"[^"\\]*"}$')
  last = tonumber(last)
  if last and last >= 1 and last < 2^31 then return last end
  if not string.find(payload, '"cost"', 1, true) then return usual end
  local is_json, job = pcall(cjson.decode, payload)
  local cost = is_json and type(job) == 'table' and job.cost
  return type(cost) == 'number' and cost >= 1 and cost < 2^31 and math.floor(cost) or usual
end

-- Returns how many tokens must be there for a job or a slot. One that costs more than the burst starts when all are there,
-- and owes the others.
local function needed(limit, cost)
  return math.min(cost, limit.rate.burst)
end

-- Returns how many of these payloads, which are in the order of the list, may start beginning with the last one; and in
-- how many microseconds to look again if one may not.
local function how_many_fit(limits, payloads, usual)
  for at = #payloads, 1, -1 do
    local cost = cost_of(payloads[at], usual)
    for _, limit in ipairs(limits) do
      local started = #payloads - at
      if limit.free and started >= limit.free then return started, 50000 end
      local lacking = limit.rate and limit.cost + needed(limit, cost) - limit.left or 0
      if lacking > 0 then
        return started, math.max(1, math.ceil(lacking * limit.rate.each / limit.rate.units))
      end
    end
    for _, limit in ipairs(limits) do limit.cost = limit.cost + cost end
  end
  return #payloads
end
