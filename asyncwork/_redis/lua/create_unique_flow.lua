-- Creates a flow that is unique, unless another one of the same text has not ended.
-- KEYS    the hash of unique flows, five for the new flow, the set of batches, the set of open batches, the hash of the
--         flow that was found before under that text
-- ARGV    the text, the id of the new flow, the id of the one that was found ('' if none was), seconds to keep the flow,
--         epoch seconds, then the fields of the flow with their values
-- Returns '' if it was created, or else the id of the flow that has the text.
local holder = redis.call('hget', KEYS[1], ARGV[1])
if holder and holder ~= ARGV[2] then
  if holder ~= ARGV[3] then
    return holder
  end
  -- pcall: a key of another type is no flow. One that is gone has ended.
  local found = redis.pcall('hmget', KEYS[9], 'next', 'ended_at')
  if found[1] and not found[2] then
    return holder
  end
end
redis.call('hset', KEYS[1], ARGV[1], ARGV[2])
redis.call('hset', KEYS[2], unpack(ARGV, 6))
redis.call('expire', KEYS[2], ARGV[4])
redis.call('zadd', KEYS[7], ARGV[5], ARGV[2])
redis.call('zadd', KEYS[8], ARGV[5], ARGV[2])
return ''
