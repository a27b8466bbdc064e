-- Writes to a pool's heartbeat that the pool holds jobs which have not begun.
-- KEYS    the pool's heartbeat, look_ahead_paused
-- ARGV    none
-- Returns 0; or the milliseconds for which the pool must not look ahead, because a pool has crashed lately, or because
--         its heartbeat cannot be written. Nothing was written then.
local paused = redis.call('pttl', KEYS[2])
if paused ~= -2 then
  -- A key without an expiry is not asyncwork's.
  return math.max(paused, 1000)
end
-- pcall: the key may hold another type, and Redis's memory may be full.
if type(redis.pcall('hget', KEYS[1], 'heartbeat_at')) ~= 'string' then
  return 1000
end
local written = redis.pcall('hset', KEYS[1], 'looks_ahead', 1)
return type(written) == 'number' and 0 or 1000
