-- Shared by scripts with `-- include free_deleted`: frees what a deleted job has held, and writes to its record how it
-- has ended. The arguments about each job are, in their order: its payload, its id, the numbers of the first and the
-- last of its unique keys in KEYS (the last is lower than the first if it has none; before the first are its steps),
-- the number of its record in KEYS (0 if it has none), seconds to keep the record, epoch seconds, the job's name, when
-- it was enqueued (epoch seconds), how many attempts have failed, the number of the hold in KEYS if the job holds a key
-- (0 if it does not), behind which is its queue. The state and the error for all records are the second and the third
-- argument of the script, and its third key is the scheduled set.
-- include unique_owner
-- include end_record
-- include forget_steps
-- include free_hold
-- i: the number of the job's first argument. kept: for how many seconds the job can be restored; 0 if not at all.
local function free_deleted(i, kept)
  local id, first_key, hold, record = ARGV[i + 1], tonumber(ARGV[i + 2]), tonumber(ARGV[i + 10]), tonumber(ARGV[i + 4])
  forget_steps(KEYS[first_key - 1], kept)
  for key = first_key, tonumber(ARGV[i + 3]) do
    delete_unless_taken(KEYS[key], id)
  end
  if hold > 0 then
    free_hold(KEYS[hold], id, KEYS[3], KEYS[hold + 1])
  end
  if record > 0 then
    end_record(KEYS[record], id, ARGV[i + 5], {
      'state', ARGV[2], 'err', ARGV[3], 'ended_at', ARGV[i + 6], 'name', ARGV[i + 7], 'enqueued_at', ARGV[i + 8],
      'attempts', ARGV[i + 9]
    })
  end
end
