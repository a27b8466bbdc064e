-- Shared by scripts with `-- include sum_shares`: how many jobs of a queue run in all pools, as the sum of the pools'
-- shares of its lock. Its cost grows with the number of pools, so read the lock where that is enough.
-- Returns a count; 0 for what is not a number, infinite or below zero.
local function count_of(raw)
  local count = type(raw) == 'string' and tonumber(raw)
  return count and count >= 0 and count < 2^31 and math.floor(count) or 0
end
-- pcall: a key of another type has no shares.
local function sum_shares(lock_info)
  local sum = 0
  for _, share in ipairs(redis.pcall('hvals', lock_info)) do
    sum = sum + count_of(share)
  end
  return sum
end
