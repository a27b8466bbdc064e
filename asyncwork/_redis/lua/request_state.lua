-- Asks a pool to be in another state, or to run another number of jobs at once. The pool reads this with its next
-- heartbeat. Each of the two has a field of its own, so that both hold. A request to stop stays, and none follows it.
-- KEYS    the pool's heartbeat
-- ARGV    JSON that says what is requested, who has requested it and when; the field for it; how a request to stop
--         begins
-- Returns 0: the pool has no heartbeat; 1: written; 2: the pool takes no requests; 3: it is stopping, or is asked to.
if redis.call('exists', KEYS[1]) == 0 then
  return 0
end
local found = redis.call('hmget', KEYS[1], 'takes_requests', 'state', 'requested', 'beats')
if not found[1] then
  return 2
end
if found[2] == 'stopping' or string.sub(found[3] or '', 1, #ARGV[3]) == ARGV[3] then
  return 3
end
-- With how many heartbeats the pool has written, so that one which does not follow is found without any clock.
redis.call('hset', KEYS[1], ARGV[2], ARGV[1], ARGV[2] .. '_beats', found[4] or '0')
return 1
