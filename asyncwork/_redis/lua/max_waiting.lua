-- Shared by scripts with `-- include max_waiting`: limits how many jobs may wait in a queue.

-- Returns the limit that was set for a queue at run time, else the one that the enqueuer has; 0 for none.
local function max_waiting(limits, name, own)
  -- pcall: a key of another type sets no limit.
  local set = redis.pcall('hget', limits, name)
  return type(set) == 'string' and tonumber(set) or tonumber(own) or 0
end

-- Returns what a script replies that enqueues no job because so many wait that the limit allows no more: {0, waiting,
-- limit}; nil if another job may wait. limits: the hash of limits; nil if the queue can have none.
local function refusal(limits, name, own, queue)
  if not limits then return nil end
  local limit, waiting = max_waiting(limits, name, own), redis.call('llen', queue)
  return limit > 0 and waiting >= limit and {0, waiting, limit} or nil
end
