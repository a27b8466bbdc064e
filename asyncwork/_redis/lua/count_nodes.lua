-- Shared by scripts with `-- include count_nodes`, after settle_member: counts how nodes have ended.

local function count_bits(key, from, count)
  local total, stop = 0, from + count
  while from < stop and (from % 8 ~= 0 or stop - from < 8) do
    total, from = total + redis.call('getbit', key, from), from + 1
  end
  local bytes = math.floor((stop - from) / 8)
  if bytes > 0 then
    total, from = total + redis.call('bitcount', key, from / 8, from / 8 + bytes - 1), from + 8 * bytes
  end
  while from < stop do
    total, from = total + redis.call('getbit', key, from), from + 1
  end
  return total
end

local function overlap(from, count, start, many)
  return math.max(0, math.min(from + count, start + many) - math.max(from, start))
end

-- Returns a function that counts in a set how a range of nodes before it have ended, by their bits.
local function counter_of(nodes)
  local first = nodes.first
  local has_ended = redis.call('exists', KEYS[first + 1]) == 1
  local skips = parse_step(has_ended and redis.call('hget', nodes.key, 'skips') or '')
  return function(set, from, count)
    set.left = set.left + count
    if not has_ended then
      return
    end
    set.left = set.left - count_bits(KEYS[first + 1], from, count)
    set.bad = set.bad + count_bits(KEYS[first + 2], from, count) + count_bits(KEYS[first + 3], from, count)
    for i = 1, #skips, 2 do
      set.skipped = set.skipped + overlap(from, count, skips[i], skips[i + 1])
    end
  end
end
