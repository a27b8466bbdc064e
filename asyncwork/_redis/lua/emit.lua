-- Adds chunks to the stream of a job that runs, if it is in progress here.
-- KEYS    in-progress, stream
-- ARGV    payload, the number of the attempt (0 with its first chunks), the lowest number that it may have, how many
--         entries to keep (roughly), seconds to keep the stream, chunk …
-- Returns the number of the attempt; 0 if the job is not in progress here, because it has ended or another pool has it.
-- Each attempt has a higher number than those before it. One that was cut off does not count as a failure, so the
-- failures are not enough.
-- include delete_if_wrong_type
-- pcall: a key of another type has no jobs.
if type(redis.pcall('lpos', KEYS[1], ARGV[1], 'RANK', -1)) ~= 'number' then
  return 0
end
local attempt = tonumber(ARGV[2])
if attempt == 0 then
  attempt = tonumber(ARGV[3])
  delete_if_wrong_type('stream', KEYS[2])
  local last = redis.call('xrevrange', KEYS[2], '+', '-', 'COUNT', 1)[1]
  if last and last[2][1] == 'end' then
    -- The job had ended, and was then requeued.
    redis.call('del', KEYS[2])
  elseif last then
    attempt = math.max(attempt, (tonumber(last[2][2]) or 0) + 1)
  end
end
for i = 6, #ARGV do
  redis.call('xadd', KEYS[2], 'MAXLEN', '~', ARGV[4], '*', 'attempt', attempt, 'chunk', ARGV[i])
end
redis.call('expire', KEYS[2], ARGV[5])
return attempt
