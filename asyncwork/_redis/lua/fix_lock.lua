-- Sets a queue's lock to the sum of the pools' shares if it is something else.
-- KEYS    lock, lock_info
-- ARGV    none
-- Returns 1 if it was changed, else 0.
-- include sum_shares
-- include delete_if_wrong_type
delete_if_wrong_type('string', KEYS[1])
delete_if_wrong_type('hash', KEYS[2])
local lock, sum = redis.call('get', KEYS[1]), sum_shares(KEYS[2])
if lock == tostring(sum) or not lock and sum == 0 then
  return 0
end
redis.call('set', KEYS[1], sum)
return 1
