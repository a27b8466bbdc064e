-- Asks a pool to be in another state. The pool reads this with its next heartbeat. A request to stop stays.
-- KEYS    the pool's heartbeat
-- ARGV    JSON that says which state, who has requested it and when; how a request to stop begins
-- Returns 0: the pool has no heartbeat; 1: written; 2: the pool takes no requests; 3: it is stopping, or is asked to.
if redis.call('exists', KEYS[1]) == 0 then
  return 0
end
local found = redis.call('hmget', KEYS[1], 'takes_requests', 'state', 'requested')
if not found[1] then
  return 2
end
if found[2] == 'stopping' or string.sub(found[3] or '', 1, #ARGV[2]) == ARGV[2] then
  return 3
end
redis.call('hset', KEYS[1], 'requested', ARGV[1])
return 1
