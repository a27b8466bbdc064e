-- Reads a queue's lock, who holds it, and how many jobs they have in progress, all of one moment.
-- KEYS    lock, lock_info, in-progress of each pool …
-- ARGV    (none)
-- Returns {lock, shares, lengths}. lock: as it is, nil when there is none, 'of another type' when it is no string.
--         shares: {pool id, share, …}. lengths: in the order of the lists. What is of another type counts as empty.
local lock, shares, lengths = redis.pcall('get', KEYS[1]), redis.pcall('hgetall', KEYS[2]), {}
if type(lock) == 'table' then lock = 'of another type' end
if shares.err then shares = {} end
for i = 3, #KEYS do
  local length = redis.pcall('llen', KEYS[i])
  lengths[i - 2] = type(length) == 'number' and length or 0
end
return {lock, shares, lengths}
