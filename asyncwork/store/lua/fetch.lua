-- Takes jobs from the queues in the order given, each into the pool's in-progress list, up to a number.
-- KEYS    of each queue: queue, in-progress, paused, lock, lock_info, max_concurrency
-- ARGV    pool id, how many jobs are wanted
-- Returns {taken, closed}. taken: {i, n, payload 1 … payload n, i, n, …}, i being the queue's place in KEYS, from 1.
--         closed: the places of those queues looked at that are paused, at their cap, or unreadable.
-- include square
local pool, want = ARGV[1], tonumber(ARGV[2])
local taken, closed = {}, {}
for i = 1, #KEYS, 6 do
  if want <= 0 then break end
  local queue, inprogress, lock = KEYS[i], KEYS[i + 1], KEYS[i + 3]
  local place = (i + 5) / 6
  if redis.call('exists', KEYS[i + 2]) == 1 then
    closed[#closed + 1] = place
  else
    local room, cap = want, tonumber(redis.pcall('get', KEYS[i + 5])) or 0
    if cap > 0 then
      room = math.min(room, cap - (tonumber(redis.pcall('get', lock)) or 0))
      if room <= 0 then closed[#closed + 1] = place end
    end
    if room > 0 then
      local head, n = #taken, 0
      while n < room do
        -- pcall: a queue that is no list must not keep the others from being read.
        local payload = redis.pcall('rpoplpush', queue, inprogress)
        if not payload then break end
        if type(payload) == 'table' then
          -- Anything else is not about this queue: Redis is no master any more, or may not write.
          if #taken == 0 and n == 0 and not string.find(payload.err, 'WRONGTYPE', 1, true) then
            return payload
          end
          closed[#closed + 1] = place
          break
        end
        n = n + 1
        taken[head + 2 + n] = payload
      end
      if n > 0 then
        taken[head + 1], taken[head + 2] = place, n
        want = want - n
        square(inprogress, lock, KEYS[i + 4], pool)
      end
    end
  end
end
return {taken, closed}
