-- Shared by scripts with `-- include restore_holders`: lets deleted jobs hold their keys again.
-- include take_hold
-- Reads which jobs are to hold a key, from the fourth argument on: {payload = {id, until, hold, record}}, and in `refused`
-- the numbers of the records of those that cannot be restored.
local function read_holders()
  local holders = {refused = {}, by_payload = {}}
  for i = 4, #ARGV, 5 do
    holders.by_payload[ARGV[i]] = {ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4])}
  end
  return holders
end
-- Returns whether a job may be restored, and whether it then waits for the end of another.
local function may_be_restored(holders, payload, successor)
  local holder = holders.by_payload[payload]
  if not holder then
    return true, successor
  end
  local id, until_what, hold = holder[1], holder[2], KEYS[holder[3]]
  -- A deleted job has freed its key, so that one with its id is another. pcall: a key of another type is not a hold.
  local other = redis.pcall('hget', hold, 'id')
  if type(other) ~= 'string' then
    take_hold(hold, id, until_what, payload)
    return true, false
  end
  if successor and other ~= id and redis.call('hsetnx', hold, 'next_id', id) == 1 then
    redis.call('hset', hold, 'next', payload, 'next_at', '0')
    return true, true
  end
  holders.refused[holder[4]] = true
  return false, false
end
