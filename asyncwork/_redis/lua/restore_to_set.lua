-- Restores deleted jobs to their sorted set. A job that is to hold a key takes it; it stays deleted if another job
-- holds the key by now. A successor waits again for the end of the job that holds its key, if no other does; if the key
-- is free, it is due at once.
-- KEYS    list of the deleted jobs, sorted set, the records of the jobs, the holds
-- ARGV    how many jobs at most, how many records there are, the score at which a successor waits, then for
--         each job that is to hold a key: its payload, its id, until what it holds the key, the numbers of the hold and
--         of the job's record in KEYS (0 if it has none)
-- Returns how many were restored. A job that is there again keeps its score.
-- include restore_holders
-- include reopen_record
local restored, holders = 0, read_holders()
for _ = 1, ARGV[1] do
  local pair = redis.call('lrange', KEYS[1], 0, 1)
  if #pair < 2 then break end
  local successor = tonumber(pair[1]) == tonumber(ARGV[3])
  local may, waits = may_be_restored(holders, pair[2], successor)
  if may then
    local score = successor and not waits and redis.call('time')[1] or pair[1]
    restored = restored + redis.call('zadd', KEYS[2], 'NX', score, pair[2])
  end
  redis.call('ltrim', KEYS[1], 2, -1)
end
for i = 3, 2 + ARGV[2] do
  if restored > 0 and not holders.refused[i] then
    reopen_record(KEYS[i], {deleted = true, cancelled = true})
  end
end
return restored
