-- Adds a pool's counts of its queues to the metrics. A pool's writes are numbered and its heartbeat, if it has one,
-- holds the newest number, so a write whose reply was lost can be repeated.
-- KEYS    the pool's heartbeat, then for each queue: the minutes of an hour, the days of a month; then for each
--         histogram of a day: its key
-- ARGV    number of the write, cell of the minute, seconds to keep minutes, cell of the day, seconds to keep days, how
--         many histograms, seconds to keep them; then for each queue: processed, failed, retried, dead, run_ms,
--         wait_ms, expired, cancelled; then for each histogram: how many buckets were changed, and for each: its
--         number, by how much
-- Returns the numbers, from 1, of the KEYS that are not strings; nothing was added to those.
-- A cell is 32 bytes: four unsigned integers of 32 bits and two signed of 64, all big-endian. Behind the 60 minutes or
-- 31 days there are 8 bytes for each: expired and cancelled, 32 bits each. They are written only if there are any.
-- A bucket of a histogram is an unsigned integer of 32 bits.
local number = tonumber(ARGV[1])
local remembers = redis.call('type', KEYS[1]).ok == 'hash'
if remembers and (tonumber(redis.call('hget', KEYS[1], 'counted')) or 0) >= number then
  return {}
end
local refused = {}
local function add(i, counts, seconds)
  local added = redis.pcall('bitfield', unpack(counts))
  if not added.err then
    redis.call('expire', KEYS[i], seconds)
  elseif string.find(added.err, 'WRONGTYPE', 1, true) then
    refused[#refused + 1] = i
  else
    return added
  end
end
local histograms = tonumber(ARGV[6])
for i = 2, #KEYS - histograms do
  local span, at = i % 2 == 0 and 2 or 4, 8 * math.floor(i / 2)
  local bit = 256 * tonumber(ARGV[span])
  local counts = {KEYS[i], 'overflow', 'sat',
    'incrby', 'u32', bit, ARGV[at],
    'incrby', 'u32', bit + 32, ARGV[at + 1],
    'incrby', 'u32', bit + 64, ARGV[at + 2],
    'incrby', 'u32', bit + 96, ARGV[at + 3],
    'incrby', 'i64', bit + 128, ARGV[at + 4],
    'incrby', 'i64', bit + 192, ARGV[at + 5]}
  if ARGV[at + 6] ~= '0' or ARGV[at + 7] ~= '0' then
    local dropped = 256 * (span == 2 and 60 or 31) + 64 * tonumber(ARGV[span])
    for offset = 0, 1 do
      for _, word in ipairs({'incrby', 'u32', dropped + 32 * offset, ARGV[at + 6 + offset]}) do
        counts[#counts + 1] = word
      end
    end
  end
  local failure = add(i, counts, ARGV[span + 1])
  if failure then
    return failure
  end
end
local at = 8 + 4 * (#KEYS - 1 - histograms)
for i = #KEYS - histograms + 1, #KEYS do
  local counts = {KEYS[i], 'overflow', 'sat'}
  for bucket = at + 1, at + 2 * ARGV[at], 2 do
    for _, word in ipairs({'incrby', 'u32', 32 * ARGV[bucket], ARGV[bucket + 1]}) do
      counts[#counts + 1] = word
    end
  end
  at = at + 1 + 2 * ARGV[at]
  local failure = add(i, counts, ARGV[7])
  if failure then
    return failure
  end
end
-- Last: an error here, such as no memory or no permission, would have come before, when nothing was added.
if remembers then
  redis.call('hset', KEYS[1], 'counted', ARGV[1])
end
return refused
