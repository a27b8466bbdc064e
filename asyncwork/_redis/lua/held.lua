-- Shared by the scripts that say `-- include held`: a count of jobs as text, and how many jobs of a queue run, over all
-- pools: the sum of their shares of its lock. That grows with the pools: where a lock will do, ask the lock.
-- What is no such count is 0: what is not a number, infinite, or below zero. pcall: a hash that is none holds no shares.
local function count_of(raw)
  local count = type(raw) == 'string' and tonumber(raw)
  return count and count >= 0 and count < 2^31 and math.floor(count) or 0
end
local function held(lock_info)
  local sum = 0
  for _, share in ipairs(redis.pcall('hvals', lock_info)) do
    sum = sum + count_of(share)
  end
  return sum
end
