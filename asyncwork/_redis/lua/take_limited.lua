-- Shared by scripts with `-- include take_limited`, after `sync_share`, `max_concurrency`, `crashes_of`, `rate` and
-- `shared_limits`: takes jobs of queues that may have a rate or shared limits, by the keys and arguments of
-- `fetch_limited`.

-- More jobs would not fit on Lua's stack.
local MOST = 5000
-- The prefix of the namespace, which stands before 'rates'.
local prefix = string.sub(KEYS[4], 1, -6)
local pool, wanted, at_once = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[4])
local want = wanted
local taken, closed, crashes, opens = {}, {}, {}, {}
local any_marked = redis.call('exists', KEYS[1], KEYS[2]) > 0

-- Moves up to `room` jobs to the in-progress list. Returns how many, and the error about something else than this queue.
local function take_jobs(position, queue, inprogress, room)
  -- pcall: a queue that is not a list must not keep the others from being read. The in-progress list is checked first,
  -- because nothing may fail between taking jobs from their queue and pushing them there.
  local found = redis.pcall('llen', inprogress)
  if type(found) == 'number' then found = redis.pcall('rpop', queue, math.min(room, MOST)) end
  if not found then return 0 end
  if found.err then
    -- Another error is not about this queue: Redis is not the master any more, or may not write.
    if #taken == 0 and not string.find(found.err, 'WRONGTYPE', 1, true) then return 0, found end
    closed[#closed + 1] = -position
    return 0
  end
  redis.call('lpush', inprogress, unpack(found))
  local head = #taken
  for at, payload in ipairs(found) do
    taken[head + 2 + at] = payload
    local count = any_marked and crashes_of(payload, KEYS[1], KEYS[2]) or 0
    if count ~= 0 then
      crashes[#crashes + 1] = head + 2 + at
      crashes[#crashes + 1] = count
    end
  end
  taken[head + 1], taken[head + 2] = position, #found
  return #found
end

-- Returns how many jobs of a queue may start, and when to look again. Their limits are checked last; nothing is taken yet.
local function fitting(queue, limits, usual, room)
  -- pcall: what is wrong with the queue, take_jobs reports.
  local waiting = redis.pcall('lrange', queue, -math.min(room, MOST), -1)
  if waiting.err or #waiting == 0 then return room end
  return how_many_fit(limits, waiting, usual)
end

local function note_opening(position, micros)
  opens[#opens + 1] = position
  opens[#opens + 1] = micros
end

-- Writes a pool's share of a queue's lock that is not there yet, or was lost: `admit_limited` compares with it.
local function write_share(inprogress, lock_info)
  -- pcall: keys of another type must not keep the other queues from being read.
  if redis.pcall('hexists', lock_info, pool) == 0 and redis.pcall('llen', inprogress) == 0 then
    redis.call('hset', lock_info, pool, 0)
  end
end

-- Takes the jobs into `taken`, `closed`, `crashes` and `opens`. Returns an error that is not about one of the queues; nil
-- if there is none.
local function take_limited()
  for i = 5, #KEYS, 7 do
    if want <= 0 then break end
    local queue, inprogress, paused, lock, lock_info = unpack(KEYS, i, i + 4)
    local state, position = KEYS[i + 6], (i + 2) / 7
    local name = ARGV[4 + position]
    if name ~= '' then write_share(inprogress, lock_info) end
    if redis.call('exists', paused) == 1 then
      local rest = name ~= '' and redis.call('pttl', paused) or -1
      if rest >= 0 then
        -- In its last millisecond, there are 0 left.
        note_opening(position, (rest + 1) * 1000)
      else
        closed[#closed + 1] = position
      end
    else
      local room, limit, slots = want, max_concurrency(KEYS[i + 5]), nil
      if limit > 0 then
        slots = concurrency_left(limit, lock, lock_info)
        room = math.min(room, slots)
        if room <= 0 then closed[#closed + 1] = position end
      end
      if room > 0 then
        local rate = name ~= '' and rate_of(KEYS[4], name) or nil
        -- The tenants of a fair queue may have rates, and its jobs that are taken take their tokens.
        local takes_tokens = rate or redis.has_rates and redis.has_rates(queue)
        local n, failed, spent, left, micros = 0, nil, 0, rate and 0 or 1, 0
        if rate then
          spent, left, micros = take_tokens(state, rate, 0)
          room = math.min(room, left)
        end
        if takes_tokens then room = math.min(room, at_once - (wanted - want)) end
        local limits, usual, again
        if name ~= '' and room > 0 then limits, usual = limits_of(prefix, name) end
        if limits then
          room = math.max(0, math.min(room, at_once - (wanted - want)))
          if room > 0 then room, again = fitting(queue, limits, usual, room) end
          if again then note_opening(position, again) end
        end
        if room > 0 then n, failed = take_jobs(position, queue, inprogress, room) end
        if failed then return failed end
        if n > 0 then
          want = want - n
          for _, limit in ipairs(limits or {}) do
            if limit.rate then take_tokens(limit.tokens, limit.rate, limit.cost, true) end
          end
          sync_share(inprogress, lock, lock_info, pool)
          if rate then spent, left, micros = take_tokens(state, rate, n) end
          -- The lock may have been wrong, and is right afterwards.
          if n == slots and want > 0 and redis.call('exists', queue) == 1
            and concurrency_left(limit, lock, lock_info) <= 0
          then
            closed[#closed + 1] = position
          end
        end
        if limits and not rate and not again and at_once <= wanted - want then
          local waiting = redis.pcall('llen', queue)
          if type(waiting) == 'number' and waiting > 0 then note_opening(position, 0) end
        end
        if takes_tokens and left == 0 then
          note_opening(position, micros)
        elseif takes_tokens and (n == room or room <= 0) and at_once <= wanted - want then
          local waiting = redis.pcall('llen', queue)
          if type(waiting) == 'number' and waiting > 0 then note_opening(position, 0) end
        end
      end
    end
  end
end
