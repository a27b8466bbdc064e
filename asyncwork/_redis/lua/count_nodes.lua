-- Shared by scripts with `-- include count_nodes`, after settle_member: counts how nodes have ended.

local function count_bits(key, from, count)
  local first, stop, total = math.floor(from / 8), from + count, 0
  local bytes = redis.call('getrange', key, first, math.floor((stop - 1) / 8))
  for i = 1, #bytes do
    local byte, node = string.byte(bytes, i), 8 * (first + i - 1)
    for bit = 7, 0, -1 do
      if byte >= 2 ^ bit then
        byte = byte - 2 ^ bit
        local number = node + 7 - bit
        total = total + (number >= from and number < stop and 1 or 0)
      end
    end
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
  local skips = flows().parse_step(has_ended and redis.call('hget', nodes.key, 'skips') or '')
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
