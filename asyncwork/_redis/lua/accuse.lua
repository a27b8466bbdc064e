-- Tells that should this pool die now, one of its jobs is to be blamed alone; unless the job is not this pool's any more.
-- KEYS    in-progress, the hash of crashes
-- ARGV    payload, the field that tells which job is to be blamed, the SHA-1 of the payload, in hex
-- Returns 1 if the job is in progress here and may begin, else 0.
if not redis.call('lpos', KEYS[1], ARGV[1]) then
  return 0
end
-- pcall: a hash that is none keeps no job from running.
redis.pcall('hset', KEYS[2], ARGV[2], ARGV[3])
return 1
