-- Writes to the records of jobs that they were deleted, after all jobs of a location were deleted at once.
-- KEYS    the record of each job
-- ARGV    epoch seconds, then for each job: its id, seconds to keep its record, its name, when it was enqueued (epoch
--         seconds), how many attempts have failed
-- Returns how many there are.
-- include end_record
for i = 1, #KEYS do
  local id, seconds, name, enqueued_at, attempts = unpack(ARGV, 5 * i - 3, 5 * i + 1)
  end_record(KEYS[i], id, seconds, {
    'state', 'deleted', 'ended_at', ARGV[1], 'name', name, 'enqueued_at', enqueued_at, 'attempts', attempts
  })
end
return #KEYS
