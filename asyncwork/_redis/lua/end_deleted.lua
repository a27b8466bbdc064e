-- Writes to the records of jobs that they were deleted, after all jobs of a location were deleted at once.
-- KEYS    the record of each job
-- ARGV    epoch seconds, then for each job: its id, seconds to keep its record
-- Returns how many there are.
-- include end_record
for i = 1, #KEYS do
  end_record(KEYS[i], ARGV[2 * i], ARGV[2 * i + 1], {'state', 'deleted', 'ended_at', ARGV[1]})
end
return #KEYS
