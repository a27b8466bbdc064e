-- Deletes the unique keys of jobs that are gone. A key that another job has taken stays.
-- KEYS    unique key …
-- ARGV    for each key, the id of the job that is gone
-- Returns how many were deleted.
-- include unique_owner
local freed = 0
for i, key in ipairs(KEYS) do
  freed = freed + delete_unless_taken(key, ARGV[i])
end
return freed
