-- Shared by scripts with `-- include max_concurrency`, after `sync_share`: enforces how many jobs of a queue may run at
-- once, over all pools.

-- Returns the limit; 0 for none.
local function max_concurrency(key)
  return tonumber(redis.pcall('get', key)) or 0
end

-- Returns how many more jobs may start; 0 or less if none.
local function concurrency_left(limit, lock, lock_info)
  local running = count_of(redis.pcall('get', lock))
  if running >= limit then
    -- A wrong lock must not keep a queue closed.
    running = sum_shares(lock_info)
    redis.call('set', lock, running)
  end
  return limit - running
end

-- Returns whether everything in this pool's in-progress list may run, beside what runs in other pools.
local function is_within(limit, inprogress, lock_info, pool)
  local others = sum_shares(lock_info) - count_of(redis.pcall('hget', lock_info, pool))
  return others + redis.call('llen', inprogress) <= limit
end
