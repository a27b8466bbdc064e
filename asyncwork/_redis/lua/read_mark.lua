-- Reads whether a job that is about to start is to be cancelled.
-- KEYS    in-progress, the hash of cancels
-- ARGV    payload, the job's id
-- Returns {held, mark}. held: 1 if the job is in progress here, else 0. mark: JSON that says who has cancelled it,
--         why and when; '' if it was not cancelled.
-- pcall: a key of another type must keep no job from running.
local mark = redis.pcall('hget', KEYS[2], ARGV[2])
return {redis.call('lpos', KEYS[1], ARGV[1]) and 1 or 0, type(mark) == 'string' and mark or ''}
