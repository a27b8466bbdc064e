-- Reads what is recorded of the steps of a job that runs.
-- KEYS    in-progress, the hash of the steps
-- ARGV    payload
-- Returns 0 if the job is not in progress here, because another pool has it; else field, value, field, value, …
-- include delete_if_wrong_type
if type(redis.pcall('lpos', KEYS[1], ARGV[1], 'RANK', -1)) ~= 'number' then
  return 0
end
delete_if_wrong_type('hash', KEYS[2])
return redis.call('hgetall', KEYS[2])
