-- Shared by the scripts that say `-- include square`: makes a pool's share of a queue's lock equal to the length of
-- its in-progress list, and moves the lock by the difference. So a lock cannot drift, and doing it twice does nothing.
-- A lock that cannot be right becomes the sum of the shares: it is no number, less than this share, or shares were lost.
-- The lock is SET, not INCRBY'd, and pcall reads it: keys of a wrong type are healed and keep nobody from working.
-- include held
local function square(inprogress, lock, lock_info, pool)
  local mine = redis.call('llen', inprogress)
  local share = redis.pcall('hget', lock_info, pool)
  if mine ~= (tonumber(share) or 0) then
    local now = redis.pcall('get', lock)
    local at = tonumber(now)
    local sum = (at or 0) + mine - count_of(share)
    local no_hash = type(redis.pcall('hset', lock_info, pool, mine)) == 'table'
    if no_hash then
      redis.call('del', lock_info)
      redis.call('hset', lock_info, pool, mine)
    end
    if no_hash or (now and not (at and at >= 0 and at < 2^31)) or sum < mine then
      sum = held(lock_info)
    end
    redis.call('set', lock, sum)
  end
end
