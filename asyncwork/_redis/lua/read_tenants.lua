-- Reads tenants of a fair queue.
-- KEYS    the keys of the fair queue, as `tenants` reads them
-- ARGV    the names of the tenants; then 1
-- Returns for each: how many jobs wait, how many run, its concurrency limit, its weight, 1 if it is paused, its turn or
--         '' if it has none, 1 if it is held, the id of the job whose retry it waits for or '', when its next job was
--         enqueued (epoch seconds) or '', its rate or '', in how many microseconds its next token comes or its rest
--         ends, -1 if it waits for neither, and 1 if it rests.
-- include tenants
local q = fair_queues[1]
-- This only reads, so it repairs no key of another type.
read_options(q, true)
local function text(reply)
  return type(reply) == 'string' and reply or ''
end
local found = {}
for _, tenant in ipairs(ARGV) do
  local own_limit, weight, paused, rate = settings_of(q, tenant)
  local opens = tonumber(text(redis.pcall('zscore', q.opens, tenant)))
  local rests = tonumber(text(redis.pcall('zscore', q.rests, tenant))) or 0
  local front = text(redis.pcall('lindex', list_of(q, tenant), -1))
  for _, each in ipairs({
    length_of(q, tenant), tonumber(text(redis.pcall('hget', q.running, tenant))) or 0, own_limit, tostring(weight),
    paused and 1 or 0, text(redis.pcall('zscore', q.ring, tenant)),
    redis.pcall('sismember', q.held, tenant) == 1 and 1 or 0,
    text(redis.pcall('hget', q.order, tenant)), string.match(front, '"t"' .. ':(%d+)') or '',
    rate and rate.text or '', opens and math.max(0, opens - now_micros()) or -1, rests > now_micros() and 1 or 0
  }) do
    found[#found + 1] = each
  end
end
return found
