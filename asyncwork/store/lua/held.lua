-- Shared by the scripts that say `-- include held`: returns how many jobs of a queue run, over all pools: the sum of
-- their shares of its lock. It grows with the pools: where a lock will do, ask that.
-- pcall: a hash that is none holds no shares.
local function held(lock_info)
  local sum = 0
  for _, share in ipairs(redis.pcall('hvals', lock_info)) do
    sum = sum + (tonumber(share) or 0)
  end
  return sum
end
