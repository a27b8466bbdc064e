-- Shared by scripts with `-- include count_duplicate`: counts a job that was not enqueued because another one of its name
-- keeps it out: 'dropped', or 'replaced' if that one has its arguments now.
local function count_duplicate(duplicates, name, what)
  -- pcall: a key of another type counts nothing.
  redis.pcall('hincrby', duplicates, what .. ':' .. name, 1)
end
