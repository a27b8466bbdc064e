-- Restores deleted jobs to their list, a queue at its front, so that they run next. A job that is to hold a key
-- takes it; it stays deleted if another job holds the key by now.
-- KEYS    list of the deleted jobs, list, the records of the jobs, the holds
-- ARGV    how many jobs at most, how many records there are, a score that does not matter, then
--         for each job that is to hold a key: its payload, its id, until what it holds the key, the numbers of the hold
--         and of the job's record in KEYS (0 if it has none)
-- Returns how many were restored.
-- include restore_holders
-- include reopen_record
local restored, holders = 0, read_holders()
for _ = 1, ARGV[1] do
  local payload = redis.call('lindex', KEYS[1], 0)
  if not payload then break end
  if may_be_restored(holders, payload) then
    redis.call('lmove', KEYS[1], KEYS[2], 'LEFT', 'RIGHT')
    restored = restored + 1
  else
    redis.call('ltrim', KEYS[1], 1, -1)
  end
end
for i = 3, 2 + ARGV[2] do
  if restored > 0 and not holders.refused[i] then
    reopen_record(KEYS[i], {deleted = true, cancelled = true})
  end
end
return restored
