-- Shared by scripts with `-- include max_waiting`: limits how many jobs may wait in a queue.

-- Returns the limit that was set for a queue at run time, else the one that the enqueuer has; 0 for none.
local function max_waiting(limits, name, own)
  -- pcall: a key of another type sets no limit.
  local set = redis.pcall('hget', limits, name)
  return type(set) == 'string' and tonumber(set) or tonumber(own) or 0
end
