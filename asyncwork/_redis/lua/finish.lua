-- Removes jobs of one queue that have ended from the in-progress list, and writes the record and the end of
-- the stream of each. Idempotent: only the call that removes a job writes them. Removes the marks of those that were to
-- be cancelled.
-- KEYS    in-progress, lock, lock_info, the hash of cancels, the set of finished jobs, then for each job: its record, its
--         stream
-- ARGV    pool id, then for each job: payload, id, seconds to keep the record, seconds to keep the stream (0 if it has
--         none), whether it is listed among the finished jobs (1 or 0), the number of the values that follow, and the
--         fields of the record with their values
-- Returns how many were in progress here. The search begins at the tail, where the oldest are.
-- include sync_share
-- include write_end
-- include allow_when_oom
allow_when_oom(KEYS[1])
local removed, at, record = 0, 2, 6
while at <= #ARGV do
  local last = at + 5 + tonumber(ARGV[at + 5])
  if redis.call('lrem', KEYS[1], -1, ARGV[at]) == 1 then
    removed = removed + 1
    local fields = {}
    for each = at + 6, last do
      fields[#fields + 1] = ARGV[each]
    end
    -- pcall: the key may hold another type.
    redis.pcall('hdel', KEYS[4], ARGV[at + 1])
    local id, seconds, stream_seconds, listed = unpack(ARGV, at + 1, at + 4)
    write_end(KEYS[record], KEYS[record + 1], KEYS[5], id, seconds, stream_seconds, listed, fields)
  end
  at, record = last + 1, record + 2
end
if removed > 0 then
  sync_share(KEYS[1], KEYS[2], KEYS[3], ARGV[1])
end
return removed
