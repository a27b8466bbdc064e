-- Sends an event to a job: records it with the job's steps, and has the job run now if it waits for that. The first
-- event of a name stays.
-- KEYS    the hash of the steps, scheduled, queue; for a job that may have no steps yet: where it was found
-- ARGV    field, value as JSON, seconds to keep the hash, payload, the payload to push to the queue; where the job was
--         found: list or zset; how many events a job may have that it has not waited for, and how many bytes
-- Returns {state, value}: 1 if it was recorded; 0 if the field had a value, and that; -1 if the job was not found where
--         it was, or the payload with the steps is another one; -2 if it was deleted; -3 if it has too many
--         events that it has not waited for; -4 if they would be too long.
-- include delete_if_wrong_type
-- include keep_steps
delete_if_wrong_type('hash', KEYS[1])
if redis.call('exists', KEYS[1]) == 0 then
  -- pcall: the key may hold another type by now.
  if not KEYS[4] or (ARGV[6] == 'list' and type(redis.pcall('lpos', KEYS[4], ARGV[4])) ~= 'number')
    or (ARGV[6] == 'zset' and type(redis.pcall('zscore', KEYS[4], ARGV[4])) ~= 'string') then
    return {-1, ''}
  end
elseif redis.call('hexists', KEYS[1], 'deleted') == 1 then
  return {-2, ''}
elseif (redis.call('hget', KEYS[1], 'payload') or ARGV[4]) ~= ARGV[4] then
  return {-1, ''}
end
local name = string.sub(ARGV[1], #'event:' + 1)
-- An event that the job has waited for is one of its steps, whose number is limited.
if redis.call('hexists', KEYS[1], ARGV[1]) == 0 and redis.call('hexists', KEYS[1], 'wait:' .. name) == 0 then
  local count, size = 1, #ARGV[2]
  for _, field in ipairs(redis.call('hkeys', KEYS[1])) do
    if string.sub(field, 1, 6) == 'event:' and redis.call('hexists', KEYS[1], 'wait:' .. string.sub(field, 7)) == 0 then
      count, size = count + 1, size + redis.call('hstrlen', KEYS[1], field)
    end
  end
  if count > tonumber(ARGV[7]) then
    return {-3, ''}
  elseif size > tonumber(ARGV[8]) then
    return {-4, ''}
  end
end
local now = redis.call('time')
local value = string.format('[%s.%03d,', now[1], math.floor(now[2] / 1000)) .. ARGV[2] .. ']'
if redis.call('hsetnx', KEYS[1], ARGV[1], value) == 0 then
  return {0, redis.call('hget', KEYS[1], ARGV[1])}
end
keep_steps(KEYS[1], ARGV[3])
local awaits = '\n' .. (redis.call('hget', KEYS[1], 'awaits') or '') .. '\n'
-- pcall: the key may hold another type by now. Scheduled for another time, the job does not wait for its event.
local score = redis.pcall('zscore', KEYS[2], ARGV[4])
if type(score) == 'string' and score == redis.call('hget', KEYS[1], 'until')
  and string.find(awaits, string.format('\n%s\n', ARGV[1]), 1, true) then
  -- To the queue, because pools look for scheduled jobs once a second.
  if type(redis.pcall('lpush', KEYS[3], ARGV[5])) == 'number' then
    redis.call('zrem', KEYS[2], ARGV[4])
  else
    redis.call('zadd', KEYS[2], now[1], ARGV[4])
  end
end
return {1, value}
