-- Records how far a job that runs has come: sets a field of the hash of its steps. Idempotent.
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
redis.call('hset', KEYS[2], ARGV[2], ARGV[3])
keep_steps(KEYS[2], ARGV[4])
return 1
