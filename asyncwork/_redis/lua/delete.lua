-- Deletes members of a sorted set and their unique keys, and keeps the members for a while. A unique key that another
-- job has taken stays. The records of the jobs say how they have ended.
-- KEYS    sorted set, list for the deleted members, scheduled, the steps of a job, unique key, record or hold and
--         queue …
-- ARGV    seconds to keep them (0: not at all), the state and the error for their records, then for each: its member,
--         the job's id, the numbers of the first and the last of its unique keys in KEYS (the last is lower than the
--         first if it has none; before the first are its steps), the number of its record in KEYS (0 if it has none),
--         seconds to keep the record, epoch seconds, the job's name, when it was enqueued (epoch seconds), how many
--         attempts have failed, the number of the hold in KEYS if the job holds a key (0 if it does not), behind which
--         is its queue
-- Returns how many were there. They are kept as a list of scores and members.
-- include unique_owner
-- include end_record
-- include forget_steps
-- include free_hold
local kept, gone = tonumber(ARGV[1]), 0
for i = 4, #ARGV, 11 do
  local score = redis.call('zscore', KEYS[1], ARGV[i])
  if score then
    if kept > 0 then
      redis.call('rpush', KEYS[2], score, ARGV[i])
    end
    forget_steps(KEYS[tonumber(ARGV[i + 2]) - 1], kept)
    for key = tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3]) do
      delete_unless_taken(KEYS[key], ARGV[i + 1])
    end
    gone = gone + redis.call('zrem', KEYS[1], ARGV[i])
    local hold = tonumber(ARGV[i + 10])
    if hold > 0 then
      free_hold(KEYS[hold], ARGV[i + 1], KEYS[3], KEYS[hold + 1])
    end
    local record = tonumber(ARGV[i + 4])
    if record > 0 then
      end_record(KEYS[record], ARGV[i + 1], ARGV[i + 5], {
        'state', ARGV[2], 'err', ARGV[3], 'ended_at', ARGV[i + 6], 'name', ARGV[i + 7], 'enqueued_at', ARGV[i + 8],
        'attempts', ARGV[i + 9]
      })
    end
  end
end
if gone > 0 and kept > 0 then
  redis.call('expire', KEYS[2], kept)
end
return gone
