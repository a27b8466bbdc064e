-- Makes a queue's lock the sum of the pools' shares, where it is something else.
-- KEYS    lock, lock_info
-- ARGV    none
-- Returns 1 if it had to be changed, else 0.
-- include held
-- include of_kind
of_kind('string', KEYS[1])
of_kind('hash', KEYS[2])
local lock, sum = redis.call('get', KEYS[1]), held(KEYS[2])
if lock == tostring(sum) or not lock and sum == 0 then
  return 0
end
redis.call('set', KEYS[1], sum)
return 1
