-- Removes jobs of one queue that have ended from the in-progress list, and writes the record and the end of
-- the stream of each. Idempotent: only the call that removes a job writes them. Removes the marks of those that were to
-- be cancelled.
-- KEYS    in-progress, lock, lock_info, the hash of cancels, the set of finished jobs, then for each job: its record,
--         and its stream if it has one
-- ARGV    pool id, then for each job: payload, id, 'SECONDS STREAM LISTED MORE ATTEMPTS ENQUEUED STARTED ENDED', its
--         state, its name, and further fields of the record with their values. SECONDS: to keep the record. STREAM:
--         seconds to keep the stream, 0 if it has none. LISTED: 1 if it is listed among the finished jobs, else 0.
--         MORE: the number of arguments that follow the name. The others are fields of the record.
-- Returns how many were in progress here. The search begins at the tail, where the oldest are.
-- include sync_share
-- include write_end
-- include allow_when_oom
allow_when_oom(KEYS[1])
local removed, at, key = 0, 2, 6
local are_marked = redis.call('exists', KEYS[4]) == 1
while at <= #ARGV do
  local payload, id, numbers, state, name = unpack(ARGV, at, at + 4)
  local seconds, stream_seconds, listed, more, attempts, enqueued_at, started_at, ended_at =
    string.match(numbers, '(%d+) (%d+) (%d) (%d+) (%-?%d+) (%-?%d+) (%S+) (%S+)')
  local record, stream, last = KEYS[key], nil, at + 4 + tonumber(more)
  key = key + 1
  if stream_seconds ~= '0' then
    stream = KEYS[key]
    key = key + 1
  end
  if redis.call('lrem', KEYS[1], -1, payload) == 1 then
    removed = removed + 1
    if are_marked then
      -- pcall: the key may hold another type.
      redis.pcall('hdel', KEYS[4], id)
    end
    write_end(record, stream, KEYS[5], id, seconds, stream_seconds, listed, {
      'state', state, 'name', name, 'attempts', attempts, 'enqueued_at', enqueued_at, 'started_at', started_at,
      'ended_at', ended_at, unpack(ARGV, at + 5, last)
    })
  end
  at = last + 1
end
if removed > 0 then
  sync_share(KEYS[1], KEYS[2], KEYS[3], ARGV[1])
end
return removed
