-- Takes up to a number of jobs from queues, in the order given, each into the pool's in-progress list.
-- KEYS    the hash of crashes, the hash of cancels, look_ahead_paused, then for each queue: queue, in-progress, paused,
--         lock, lock_info, max_concurrency
-- ARGV    pool id, how many jobs are wanted, 1 if the pool looks ahead
-- Returns {taken, closed, crashes, paused}. taken: {i, n, payload 1 … payload n, i, n, …}, i being the number of the
--         queue, from 1. closed: the numbers of the queues that are paused or at their concurrency limit, also if they
--         reached it with the jobs that were taken and hold more; and of the unreadable ones, times -1. crashes:
--         {position in taken, number of crashes, …} of the jobs that were running when a process died, or may have to
--         be cancelled, as `crashes_of` counts them. paused: 1 if a pool that looks ahead must not go on, because a
--         pool has crashed lately; else 0.
-- include sync_share
-- include max_concurrency
-- include crashes_of
-- include allow_when_oom
if #KEYS > 3 then allow_when_oom(KEYS[5]) end
-- More jobs would not fit on Lua's stack.
local MOST = 5000
local pool, want = ARGV[1], tonumber(ARGV[2])
local taken, closed, crashes = {}, {}, {}
local any_marked = redis.call('exists', KEYS[1], KEYS[2]) > 0
for i = 4, #KEYS, 6 do
  if want <= 0 then break end
  local queue, inprogress, lock, lock_info = KEYS[i], KEYS[i + 1], KEYS[i + 3], KEYS[i + 4]
  local position = (i + 2) / 6
  if redis.call('exists', KEYS[i + 2]) == 1 then
    closed[#closed + 1] = position
  else
    local room, limit = want, max_concurrency(KEYS[i + 5])
    if limit > 0 then
      room = math.min(room, concurrency_left(limit, lock, lock_info))
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
          local count = any_marked and crashes_of(payload, KEYS[1], KEYS[2]) or 0
          if count ~= 0 then
            crashes[#crashes + 1] = head + 2 + at
            crashes[#crashes + 1] = count
          end
        end
        taken[head + 1], taken[head + 2] = position, n
      end
      if n > 0 then
        want = want - n
        sync_share(inprogress, lock, lock_info, pool)
        -- The lock may have been wrong, and is right afterwards.
        if limit > 0 and n == room and want > 0 and redis.call('exists', queue) == 1
          and concurrency_left(limit, lock, lock_info) <= 0
        then
          closed[#closed + 1] = position
        end
      end
    end
  end
end
return {taken, closed, crashes, ARGV[3] == '1' and redis.call('exists', KEYS[3]) or 0}
