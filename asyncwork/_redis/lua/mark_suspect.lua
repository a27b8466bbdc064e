-- Marks a job as its pool's suspect before it runs isolated: if the pool dies now, that job alone caused it.
-- KEYS    in-progress, the hash of crashes
-- ARGV    payload, the field in that hash for the pool's suspect, the SHA-1 of the payload in hex
-- Returns 1 if the job is in progress here and may start, else 0.
if not redis.call('lpos', KEYS[1], ARGV[1]) then
  return 0
end
-- pcall: a key of another type must keep no job from running.
redis.pcall('hset', KEYS[2], ARGV[2], ARGV[3])
return 1
