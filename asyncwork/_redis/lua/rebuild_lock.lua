-- Makes pools' shares of a queue's lock equal to the number of their jobs in progress, and the lock the sum of all
-- shares. Safe at any time: it is what each pool's own next step would do. Shares that are no numbers are dropped.
-- KEYS    lock, lock_info, in-progress of each pool …
-- ARGV    pool id of each …
-- Returns the lock as it is then.
-- include even_if_full
if KEYS[3] then even_if_full(KEYS[3]) end
local lock, lock_info = KEYS[1], KEYS[2]
if type(redis.pcall('hlen', lock_info)) == 'table' then
  redis.call('del', lock_info)
end
for i, pool in ipairs(ARGV) do
  local length = redis.pcall('llen', KEYS[i + 2])
  if type(length) == 'number' and length > 0 then
    redis.call('hset', lock_info, pool, length)
  else
    redis.call('hdel', lock_info, pool)
  end
end
local held, shares = 0, redis.call('hgetall', lock_info)
for i = 1, #shares, 2 do
  local share = tonumber(shares[i + 1])
  if share then
    held = held + share
  else
    redis.call('hdel', lock_info, shares[i])
  end
end
redis.call('set', lock, held)
return held
