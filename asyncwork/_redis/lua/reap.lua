-- Moves a pool's jobs of one queue to the front of that queue, the oldest to run first, and when none is left removes
-- its share of the lock. The lock is then set to the sum of the other pools' shares.
-- KEYS    in-progress, lock, lock_info, queue, the pool's heartbeat; for each job that was cut off and whose attempts
--         are kept: its record
-- ARGV    pool id, how many jobs to move at most, the heartbeat_at by which the pool was considered dead ('' if it has
--         none), or '*'; for each job with a record: payload, seconds to keep the record, the name and the value of the
--         field of its attempt, which is written when the job is moved
-- Returns {moved, left}, or {-1, 0} when the pool has written a heartbeat meanwhile: it is alive, and nothing was
--         changed.
-- include sync_share
-- include allow_when_oom
-- include delete_if_wrong_type
-- include add_attempt
allow_when_oom(KEYS[1])
local inprogress, lock, lock_info, queue = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local pool, limit = ARGV[1], tonumber(ARGV[2])
-- pcall: a key of another type has no heartbeat_at.
local heartbeat_at = redis.pcall('hget', KEYS[5], 'heartbeat_at')
if ARGV[3] ~= '*' and (type(heartbeat_at) == 'string' and heartbeat_at or '') ~= ARGV[3] then
  return {-1, 0}
end
delete_if_wrong_type('list', inprogress)
delete_if_wrong_type('hash', lock_info)
local moved, requeued = 0, {}
while moved < limit do
  local payload = redis.call('lmove', inprogress, queue, 'LEFT', 'RIGHT')
  if not payload then
    break
  end
  moved = moved + 1
  requeued[payload] = true
end
for i = 4, #ARGV, 4 do
  if requeued[ARGV[i]] then
    add_attempt(KEYS[5 + i / 4], ARGV[i + 1], {ARGV[i + 2], ARGV[i + 3]})
  end
end
local left = redis.call('llen', inprogress)
sync_share(inprogress, lock, lock_info, pool)
if left == 0 then
  redis.call('hdel', lock_info, pool)
end
-- Even if no share has changed, because the lock may be wrong.
local sum = sum_shares(lock_info)
if sum > 0 or redis.call('exists', lock) == 1 then
  redis.call('set', lock, sum)
end
return {moved, left}
