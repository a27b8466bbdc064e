-- Records a step of a job that runs: sets a field of the hash of its steps, unless it is set. Idempotent.
-- KEYS    in-progress, the hash of the steps
-- ARGV    payload, field, value, seconds to keep the hash
-- Returns 0 if the job is not in progress here, because another pool has it; else the value that the field has.
-- include allow_when_oom
-- include delete_if_wrong_type
-- include keep_steps
if type(redis.pcall('lpos', KEYS[1], ARGV[1], 'RANK', -1)) ~= 'number' then
  return 0
end
allow_when_oom(KEYS[1])
delete_if_wrong_type('hash', KEYS[2])
redis.call('hsetnx', KEYS[2], ARGV[2], ARGV[3])
keep_steps(KEYS[2], ARGV[4])
return redis.call('hget', KEYS[2], ARGV[2])
