-- Shared by scripts with `-- include rate`: takes tokens of a rate, by Redis's clock. The algorithm is GCRA, counted in
-- whole units, so that it is exact: each microsecond brings `units`, and a token costs `each`. The state is what has
-- been taken and has not come again: 'DEBT AT EACH', in units, at a time in microseconds since the epoch; with ' owes'
-- behind it if that is more than the burst.

-- No number that is computed here may exceed this. Lua's numbers are exact up to twice as much.
local MOST_UNITS = 2 ^ 52

-- Returns the rate of a text 'COUNT/SECONDS/BURST'; nil if it is none.
local function read_rate(text)
  local count, seconds, burst = string.match(type(text) == 'string' and text or '', '^(%d+)/(%d+%.?%d*)/(%d+)$')
  count, burst = tonumber(count), tonumber(burst)
  local micros = math.floor((tonumber(seconds) or 0) * 1000000 + 0.5)
  -- Not with `not`: each is also false for what is not a number.
  if not (count and count >= 1 and count <= 1000000000 and micros >= 1 and micros <= 366 * 86400 * 1000000) then
    return nil
  end
  local divisor, rest = count, math.fmod(micros, count)
  while rest > 0 do divisor, rest = rest, math.fmod(divisor, rest) end
  local rate = {units = count / divisor, each = micros / divisor, burst = burst, count = count, text = text}
  return burst >= 1 and burst * rate.each <= MOST_UNITS and rate or nil
end

-- Returns the rate of a job name; nil if it has none. The one that was set at run time holds, otherwise the one of the
-- code. A value that cannot be read is not a rate, so that it blocks nothing.
local function rate_of(rates, name)
  -- pcall: a key of another type must block no queue.
  local found = redis.pcall('hmget', rates, 'set:' .. name, 'code:' .. name)
  if found.err then return nil end
  local set, code = found[1], found[2]
  if set == 'none' then return nil end
  return read_rate(set) or read_rate(string.match(code or '', '^%S+'))
end

-- Returns the most units that may be taken beyond the burst: those that come in an hour, or in the time of the rate. More
-- are a mistake, which must not keep others waiting for ever.
local function most_owed(rate)
  return math.min(MOST_UNITS, math.max(rate.count * rate.each, 3600 * 1000000 * rate.units))
end

-- Takes up to n tokens; with 0, changes nothing but a state that is in the future or cannot be read. If it may owe, takes
-- n whatever is left.
-- Returns how many were taken, how many are left, and in how many microseconds the next one comes if none is left.
local function take_tokens(key, rate, n, may_owe)
  local time = redis.call('time')
  local now = time[1] * 1000000 + time[2]
  local full, debt, at, is_valid = rate.burst * rate.each, 0, now, true
  local most = full
  -- pcall: SET replaces a key of another type.
  local state = redis.pcall('get', key)
  if state then
    local owed, when, cost, owes = string.match(type(state) == 'string' and state or '', '^(%d+) (%d+) (%d+) ?(%l*)$')
    owed, when, cost = tonumber(owed), tonumber(when), tonumber(cost)
    if owes == 'owes' then most = full + most_owed(rate) end
    -- A state that cannot be read costs the burst, not the rate.
    debt, is_valid = full, owed ~= nil and cost > 0
    if is_valid then
      -- The rate was changed: the tokens that were taken stay taken.
      debt = math.min(most, cost == rate.each and owed or math.ceil(owed / cost * rate.each))
      at = when
    end
  end
  -- If the clock was set back, nothing has come, and the wait is no longer than for the whole burst.
  local elapsed = math.max(0, now - at)
  if elapsed >= debt / rate.units then
    debt = 0
  else
    debt = math.max(0, debt - elapsed * rate.units)
  end
  local left = math.floor((full - debt) / rate.each)
  local taken = may_owe and n or math.max(0, math.min(n, left))
  debt, left = debt + taken * rate.each, left - taken
  if debt > full then debt = math.min(debt, full + most_owed(rate)) end
  if taken > 0 or at > now or not is_valid then
    local kept = math.ceil(debt / rate.units / 1000) + 1
    local text = string.format('%.0f %.0f %.0f', debt, now, rate.each) .. (debt > full and ' owes' or '')
    redis.call('set', key, text, 'PX', string.format('%.0f', kept))
  end
  return taken, left, left > 0 and 0 or math.max(1, math.ceil((debt - full + rate.each) / rate.units))
end
