-- Shared by the scripts that say `-- include square`: makes a pool's share of a queue's lock equal to the length of
-- its in-progress list, and moves the lock by the difference. So a lock cannot drift, and doing it twice does nothing.
-- The lock is SET, not INCRBY'd, and pcall reads it: keys of a wrong type are healed and keep nobody from working. Nor
-- does what is no number: the lock is then the sum of the shares.
-- include held
local function square(inprogress, lock, lock_info, pool)
  local mine = redis.call('llen', inprogress)
  local share = redis.pcall('hget', lock_info, pool)
  if mine ~= (tonumber(share) or 0) then
    if type(redis.pcall('hset', lock_info, pool, mine)) == 'table' then
      redis.call('del', lock_info)
      redis.call('hset', lock_info, pool, mine)
    end
    local now = redis.pcall('get', lock)
    local at = tonumber(now)
    if now and not (at and at >= 0 and at < 2^31) then
      redis.call('set', lock, held(lock_info))
    else
      redis.call('set', lock, math.max(0, (at or 0) + mine - count_of(share)))
    end
  end
end
