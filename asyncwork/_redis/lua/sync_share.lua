-- Shared by scripts with `-- include sync_share`: sets a pool's share of a queue's lock to the length of its
-- in-progress list, and moves the lock by the difference. So the lock cannot drift, and a second call does nothing.
-- Recomputes the lock from the shares if it is not a number, is smaller than this share, or shares were lost. The lock
-- is written with SET, not INCRBY, and read with pcall, so that keys of a wrong type are repaired and block no pool.
-- include sum_shares
local function sync_share(inprogress, lock, lock_info, pool)
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
      sum = sum_shares(lock_info)
    end
    redis.call('set', lock, sum)
  end
end
