-- Records how far a job that runs has come: sets a field of the hash of its steps, unless its value is newer, because
-- this call was sent again and came late. Idempotent.
-- KEYS    in-progress, the hash of the steps
-- ARGV    payload, field, value, seconds to keep the hash
-- Returns 0 if the job is not in progress here, because another pool has it; else 1.
-- include allow_when_oom
-- include delete_if_wrong_type
-- include keep_steps
if type(redis.pcall('lpos', KEYS[1], ARGV[1], 'RANK', -1)) ~= 'number' then
  return 0
end
allow_when_oom(KEYS[1])
delete_if_wrong_type('hash', KEYS[2])
local function time_of(value)
  return tonumber(string.match(value or '', '^%[([%d.]+)')) or 0
end
if time_of(redis.call('hget', KEYS[2], ARGV[2])) <= time_of(ARGV[3]) then
  redis.call('hset', KEYS[2], ARGV[2], ARGV[3])
end
keep_steps(KEYS[2], ARGV[4])
return 1
