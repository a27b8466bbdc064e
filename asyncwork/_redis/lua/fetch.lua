-- Takes up to a number of jobs from queues, in the order given, each into the pool's in-progress list.
-- KEYS    the hash of crashes, then for each queue: queue, in-progress, paused, lock, lock_info, max_concurrency
-- ARGV    pool id, how many jobs are wanted
-- Returns {taken, closed, crashes}. taken: {i, n, payload 1 … payload n, i, n, …}, i being the number of the queue,
--         from 1. closed: the numbers of the queues that are paused or at their concurrency limit, and of the
--         unreadable ones, times -1. crashes: {position in taken, number of crashes, …} of the jobs that were running
--         when a process died.
-- include sync_share
-- include max_concurrency
-- include allow_when_oom
if #KEYS > 1 then allow_when_oom(KEYS[3]) end
-- More would not fit on Lua's stack.
local MOST = 5000
local pool, want = ARGV[1], tonumber(ARGV[2])
local taken, closed, crashes = {}, {}, {}
local any_crashed = redis.call('exists', KEYS[1]) == 1
for i = 2, #KEYS, 6 do
  if want <= 0 then break end
  local queue, inprogress, lock, lock_info = KEYS[i], KEYS[i + 1], KEYS[i + 3], KEYS[i + 4]
  local position = (i + 4) / 6
  if redis.call('exists', KEYS[i + 2]) == 1 then
    closed[#closed + 1] = position
  else
    local room, limit = want, max_concurrency(KEYS[i + 5])
    if limit > 0 then
      room = math.min(room, free_slots(limit, lock, lock_info))
      if room <= 0 then closed[#closed + 1] = position end
    end
    if room > 0 then
      -- pcall: a queue that is not a list must not keep the others from being read. The in-progress list is checked
      -- first, because nothing may fail between taking jobs from their queue and pushing them there.
      local found = redis.pcall('llen', inprogress)
      if type(found) == 'number' then found = redis.pcall('rpop', queue, math.min(room, MOST)) end
      local n = 0
      if found and found.err then
        -- Another error is not about this queue: Redis is not the master any more, or may not write.
        if #taken == 0 and not string.find(found.err, 'WRONGTYPE', 1, true) then return found end
        closed[#closed + 1] = -position
      elseif found then
        redis.call('lpush', inprogress, unpack(found))
        n = #found
        local head = #taken
        for at, payload in ipairs(found) do
          taken[head + 2 + at] = payload
          local count = any_crashed and redis.pcall('hget', KEYS[1], redis.sha1hex(payload))
          if type(count) == 'string' then
            crashes[#crashes + 1] = head + 2 + at
            crashes[#crashes + 1] = tonumber(count) or 0
          end
        end
        taken[head + 1], taken[head + 2] = position, n
      end
      if n > 0 then
        want = want - n
        sync_share(inprogress, lock, lock_info, pool)
      end
    end
  end
end
return {taken, closed, crashes}
