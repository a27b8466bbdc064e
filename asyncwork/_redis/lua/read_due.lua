-- Reads the due jobs of a sorted set, by Redis's own clock, so that all pools agree. Jobs that had to stay are not read
-- again; they are given as spans of scores, which follow each other from the lowest score on.
-- KEYS    sorted set, known_jobs
-- ARGV    how many due members to return, then for each span: its highest score, how many members it had
-- Returns {now, next, known, changed, due}. now: epoch seconds with fraction, as text. next: the score of the first
--         member that is not due yet, as text, or ''. known: how many names are registered. changed: the numbers, from
--         1, of the spans whose number of members has changed. due: member, score as text, …, of those beyond the
--         spans.
local time = redis.call('time')
local now = string.format('%d.%06d', time[1], time[2])
local later = redis.call('zrangebyscore', KEYS[1], '(' .. now, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
-- pcall: a key of another type has no members.
local known = redis.pcall('scard', KEYS[2])
local changed, low = {}, '-inf'
for i = 2, #ARGV, 2 do
  if redis.call('zcount', KEYS[1], low, ARGV[i]) ~= tonumber(ARGV[i + 1]) then
    changed[#changed + 1] = i / 2
  end
  low = '(' .. ARGV[i]
end
local due = redis.call('zrangebyscore', KEYS[1], low, now, 'WITHSCORES', 'LIMIT', 0, ARGV[1])
return {now, later[2] or '', type(known) == 'number' and known or 0, changed, due}
