-- Takes a pool's jobs of one queue back to the front of that queue, the oldest first to run, and when none is left its
-- share of the lock. The lock is then rebuilt as the sum of what the other pools hold.
-- KEYS    in-progress, lock, lock_info, queue, the pool's heartbeat
-- ARGV    pool id, how many jobs to move at most, the heartbeat_at it was judged by ('' where it has none), or '*'
-- Returns {moved, left}, or {-1, 0} when the pool has beaten meanwhile: it lives, and nothing was touched.
-- include square
-- include even_if_full
-- include of_kind
even_if_full(KEYS[1])
local inprogress, lock, lock_info, queue = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local pool, limit = ARGV[1], tonumber(ARGV[2])
-- pcall: what is no hash tells no time.
local beat = redis.pcall('hget', KEYS[5], 'heartbeat_at')
if ARGV[3] ~= '*' and (type(beat) == 'string' and beat or '') ~= ARGV[3] then
  return {-1, 0}
end
of_kind('list', inprogress)
of_kind('hash', lock_info)
local moved = 0
while moved < limit and redis.call('lmove', inprogress, queue, 'LEFT', 'RIGHT') do
  moved = moved + 1
end
local left = redis.call('llen', inprogress)
square(inprogress, lock, lock_info, pool)
if left == 0 then
  redis.call('hdel', lock_info, pool)
end
-- Even where no share has changed: the lock may be wrong.
local sum = held(lock_info)
if sum > 0 or redis.call('exists', lock) == 1 then
  redis.call('set', lock, sum)
end
return {moved, left}
