-- Claims jobs that a pool holds, after it may have been considered dead: what a reaper has put back on the queue, and
-- nobody has taken, goes back to the in-progress list.
-- KEYS    worker_pools, the pool's heartbeat, in-progress, lock, lock_info, queue
-- ARGV    pool id, payload …
-- Returns the places, from 1, of the payloads that are not in progress here: another pool has them, or they were settled.
-- include square
-- include even_if_full
even_if_full(KEYS[3])
-- Without a reaper, a job of the same bytes that waits is another one. pcall: keys of a wrong type tell nothing.
local reaped = redis.pcall('sismember', KEYS[1], ARGV[1]) ~= 1 or type(redis.pcall('hget', KEYS[2], 'reaped')) == 'string'
local missing = {}
for i = 2, #ARGV do
  local mine = redis.pcall('lpos', KEYS[3], ARGV[i])
  if type(mine) ~= 'number' then
    -- A reaper puts jobs back to the front, which is the tail: a long queue need not be searched to its end.
    local back = reaped and redis.pcall('lpos', KEYS[6], ARGV[i], 'RANK', -1, 'MAXLEN', 10000)
    if type(back) == 'number' and type(redis.pcall('llen', KEYS[3])) == 'number' then
      redis.call('rpush', KEYS[3], ARGV[i])
      redis.call('lrem', KEYS[6], -1, ARGV[i])
    else
      missing[#missing + 1] = i - 1
    end
  end
end
if type(redis.pcall('llen', KEYS[3])) == 'number' then
  square(KEYS[3], KEYS[4], KEYS[5], ARGV[1])
end
return missing
