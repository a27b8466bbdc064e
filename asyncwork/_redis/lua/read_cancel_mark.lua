-- Reads whether a job that is about to start is to be cancelled, alone or with all of its batch.
-- KEYS    in-progress, the hash of cancels
-- ARGV    payload, the job's id
-- Returns {held, mark}. held: 1 if the job is in progress here, else 0. mark: JSON that says who has cancelled it,
--         why and when; '' if it was not cancelled.
-- include batch_of
-- pcall: a key of another type must keep no job from running.
local mark = redis.pcall('hget', KEYS[2], ARGV[2])
if not mark and batch_of(ARGV[2]) then
  mark = redis.pcall('hget', KEYS[2], batch_of(ARGV[2]))
end
return {redis.call('lpos', KEYS[1], ARGV[1]) and 1 or 0, type(mark) == 'string' and mark or ''}
