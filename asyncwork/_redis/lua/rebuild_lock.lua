-- Sets pools' shares of a queue's lock to the number of their jobs in progress, and the lock to the sum of all shares.
-- Safe at any time, because each pool's next step would do the same. Deletes shares that are not numbers.
-- KEYS    lock, lock_info, in-progress of each pool …
-- ARGV    pool id of each …
-- Returns the new lock.
-- include allow_when_oom
if KEYS[3] then allow_when_oom(KEYS[3]) end
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
local sum, shares = 0, redis.call('hgetall', lock_info)
for i = 1, #shares, 2 do
  local share = tonumber(shares[i + 1])
  if share then
    sum = sum + share
  else
    redis.call('hdel', lock_info, shares[i])
  end
end
redis.call('set', lock, sum)
return sum
