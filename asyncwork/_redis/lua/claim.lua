-- Claims jobs that a pool holds, after it may have been considered dead: jobs that a reaper has requeued and no pool
-- has taken go back to the in-progress list. A claim counts as a heartbeat, so a reaper that was about to requeue the
-- jobs finds that the pool is alive.
-- KEYS    worker_pools, the pool's heartbeat, in-progress, lock, lock_info, queue
-- ARGV    pool id, heartbeat_at, payload …
-- Returns the numbers, from 1, of the payloads that are not in progress here: another pool has them, or they are done.
-- include sync_share
-- include allow_when_oom
allow_when_oom(KEYS[3])
-- If no reaper has requeued jobs, a waiting job of the same bytes is another one. pcall: keys may be of another type.
local reaped = redis.pcall('sismember', KEYS[1], ARGV[1]) ~= 1 or type(redis.pcall('hget', KEYS[2], 'reaped')) == 'string'
-- A claim that was sent again must not set back a heartbeat that was written meanwhile.
local heartbeat_at = redis.pcall('hget', KEYS[2], 'heartbeat_at')
if type(heartbeat_at) == 'string' and (tonumber(heartbeat_at) or 0) < tonumber(ARGV[2]) then
  redis.call('hset', KEYS[2], 'heartbeat_at', ARGV[2])
end
local missing = {}
for i = 3, #ARGV do
  local mine = redis.pcall('lpos', KEYS[3], ARGV[i])
  if type(mine) ~= 'number' then
    -- A reaper requeues jobs to the front, which is the tail, so a long queue need not be searched to its end.
    local back = reaped and redis.pcall('lpos', KEYS[6], ARGV[i], 'RANK', -1, 'MAXLEN', 10000)
    if type(back) == 'number' and type(redis.pcall('llen', KEYS[3])) == 'number' then
      redis.call('rpush', KEYS[3], ARGV[i])
      redis.call('lrem', KEYS[6], -1, ARGV[i])
    else
      missing[#missing + 1] = i - 2
    end
  end
end
if type(redis.pcall('llen', KEYS[3])) == 'number' then
  sync_share(KEYS[3], KEYS[4], KEYS[5], ARGV[1])
end
return missing
