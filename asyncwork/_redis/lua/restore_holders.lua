-- Shared by scripts with `-- include restore_holders`: lets deleted jobs hold their keys again.
-- include take_hold
-- Reads which jobs are to hold a key, from the third argument on: {payload = {id, until, hold, record}}, and in `refused`
-- the numbers of the records of those that cannot be restored.
local function read_holders()
  local holders = {refused = {}, by_payload = {}}
  for i = 3, #ARGV, 5 do
    holders.by_payload[ARGV[i]] = {ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4])}
  end
  return holders
end
local function may_be_restored(holders, payload)
  local holder = holders.by_payload[payload]
  if not holder or take_hold(KEYS[holder[3]], holder[1], holder[2], payload) == '' then
    return true
  end
  holders.refused[holder[4]] = true
  return false
end
