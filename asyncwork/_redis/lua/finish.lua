-- Removes jobs of one queue that have ended from the in-progress list, and writes the record of each. Idempotent: only
-- the call that removes a job writes its record.
-- KEYS    in-progress, lock, lock_info, then the record of each job
-- ARGV    pool id, then for each job: payload, id, seconds to keep the record, the number of the values that follow, and
--         the fields of the record with their values
-- Returns how many were in progress here. The search begins at the tail, where the oldest are.
-- include sync_share
-- include end_record
-- include allow_when_oom
allow_when_oom(KEYS[1])
local removed, at, record = 0, 2, 4
while at <= #ARGV do
  local last = at + 3 + tonumber(ARGV[at + 3])
  if redis.call('lrem', KEYS[1], -1, ARGV[at]) == 1 then
    removed = removed + 1
    local fields = {}
    for each = at + 4, last do
      fields[#fields + 1] = ARGV[each]
    end
    end_record(KEYS[record], ARGV[at + 1], ARGV[at + 2], fields)
  end
  at, record = last + 1, record + 1
end
if removed > 0 then
  sync_share(KEYS[1], KEYS[2], KEYS[3], ARGV[1])
end
return removed
