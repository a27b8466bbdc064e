-- Frees what jobs kept unique that are gone. A key that is another job's is left alone.
-- KEYS    unique key …
-- ARGV    of each key, the id of the job that is gone
-- Returns how many were freed.
-- include owner
local freed = 0
for i, key in ipairs(KEYS) do
  freed = freed + let_go(key, ARGV[i])
end
return freed
