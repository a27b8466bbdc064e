-- Shared by scripts with `-- include free_hold`: frees the key that a job holds, because the job has ended, unless
-- another job holds it by now. If a successor waits for that, it holds the key from now on, and goes to its queue. If
-- the job that has ended is the successor itself, the key forgets it. A hold is a hash: 'id' of the job that holds the
-- key, 'since' (epoch seconds) and 'until' what; 'payload' of that job while it may be exchanged for another;
-- 'next_id', 'next' and 'next_at' of the successor: its id, its payload, and when it is due (epoch seconds). The
-- successor waits in the scheduled set, far in the future.
-- Returns 1 if the key was freed, else 0.
local function free_hold(hold, id, scheduled, queue)
  -- pcall: a key of another type is not a hold, and must not keep the job from ending.
  local held = redis.pcall('hmget', hold, 'id', 'next_id', 'next', 'next_at')
  if held.err then
    return 0
  end
  local next_id, payload = held[2], held[3]
  if held[1] ~= id then
    if next_id == id then
      redis.call('hdel', hold, 'next_id', 'next', 'next_at')
    end
    return 0
  end
  -- A successor that is not there any more was deleted by a program that knows no holds.
  if not payload or type(redis.pcall('zscore', scheduled, payload)) ~= 'string' then
    redis.call('del', hold)
    return 1
  end
  local now = redis.call('time')[1]
  if tonumber(held[4]) > tonumber(now) then
    redis.call('zadd', scheduled, held[4], payload)
  elseif type(redis.pcall('lpush', queue, payload)) == 'number' then
    redis.call('zrem', scheduled, payload)
  else
    -- The queue is not a list. The requeuers try again until it is.
    redis.call('zadd', scheduled, now, payload)
  end
  redis.call('hset', hold, 'id', next_id, 'since', now, 'payload', payload)
  redis.call('hdel', hold, 'next_id', 'next', 'next_at')
  return 1
end
