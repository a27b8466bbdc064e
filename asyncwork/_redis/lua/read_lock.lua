-- Reads a queue's lock, the pools' shares of it, and how many jobs they have in progress, all at one moment.
-- KEYS    lock, lock_info, in-progress of each pool …
-- ARGV    (none)
-- Returns {lock, shares, lengths}. lock: its value, nil when there is none, 'of another type' when it is not a string.
--         shares: {pool id, share, …}. lengths: in the order of the lists. A key of another type counts as empty.
local lock, shares, lengths = redis.pcall('get', KEYS[1]), redis.pcall('hgetall', KEYS[2]), {}
if type(lock) == 'table' then lock = 'of another type' end
if shares.err then shares = {} end
for i = 3, #KEYS do
  local length = redis.pcall('llen', KEYS[i])
  lengths[i - 2] = type(length) == 'number' and length or 0
end
return {lock, shares, lengths}
