-- Reads whether batches have ended, and has a process woken when those that have not do.
-- KEYS    the hash of each batch
-- ARGV    the channel of the process
-- Returns for each batch 1 if it has ended, or is not kept any more; else 0.
local found = {}
for i = 1, #KEYS do
  -- pcall: a key of another type is no batch.
  local batch = redis.pcall('hmget', KEYS[i], 'next', 'ended_at', 'wakes')
  if batch.err or not batch[1] or batch[2] then
    found[i] = 1
  else
    found[i] = 0
    local wakes, line = batch[3] or '', string.format('%s\n', ARGV[1])
    if not string.find('\n' .. wakes, '\n' .. line, 1, true) then
      wakes = wakes .. line
      -- Some of the processes may have died. Those that are not woken read again from time to time.
      if select(2, string.gsub(wakes, '\n', '')) > 100 then
        wakes = string.gsub(wakes, '^[^\n]*\n', '')
      end
      -- pcall: Redis may have no memory left.
      redis.pcall('hset', KEYS[i], 'wakes', wakes)
    end
  end
end
return found
