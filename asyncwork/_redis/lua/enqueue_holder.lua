-- Enqueues or schedules a job that is to hold a key until it has ended, unless another one holds the key.
-- KEYS    hold, queue, scheduled, the hash of counted duplicates; if the queue may have a limit: the hash of limits that
--         were set at run time
-- ARGV    the payload in three parts: what comes before its id, the id, and what comes after it; until what it holds
--         the key; when it is due (epoch seconds; '' for now); 1 if it goes to the front of its queue; what is done if
--         another job holds the key: 'drop', 'raise', 'replace' or 'after'; the score at which a successor waits; the
--         job name; if the queue may have a limit: the limit that the enqueuer has (0 for none)
-- Returns {0, waiting, limit} if so many wait that the limit allows no more, else {what, id}. what: 1: it was enqueued;
--         0: it was not, because the job `id` holds the key; 2: the job `id`, which waits, has its arguments now; 3: it
--         waits until the job `id`, which holds the key, has ended.
-- The job is written first: if that fails, no key is left that would keep others out.
-- include take_hold
-- include max_waiting
-- include count_duplicate
-- So many jobs at each end of the queue are searched for one whose arguments are to be exchanged. Redis does nothing else
-- meanwhile.
local MOST_SEARCHED = 20000
local hold, queue, scheduled = KEYS[1], KEYS[2], KEYS[3]
local before, after, conflict = ARGV[1], ARGV[3], ARGV[7]
local function with_id(id)
  return before .. id .. after
end
-- Exchanges a job that waits for this one, which gets its id and its position; returns whether it waits there.
local function exchange(old, id)
  local new = with_id(id)
  local score = redis.pcall('zscore', scheduled, old)
  if type(score) == 'string' then
    redis.call('zadd', scheduled, score, new)
    if new ~= old then
      redis.call('zrem', scheduled, old)
    end
    return new
  end
  local at = redis.pcall('lpos', queue, old, 'MAXLEN', MOST_SEARCHED) or
    redis.pcall('lpos', queue, old, 'RANK', -1, 'MAXLEN', MOST_SEARCHED)
  if type(at) == 'number' then
    redis.call('lset', queue, at, new)
    return new
  end
end
local payload, held = with_id(ARGV[2]), redis.pcall('hmget', hold, 'id', 'payload', 'next_id', 'next')
if held.err or not held[1] then
  if ARGV[5] ~= '' then
    redis.call('zadd', scheduled, ARGV[5], payload)
  else
    local refused = refusal(KEYS[5], ARGV[9], ARGV[10], queue)
    if refused then
      return refused
    end
    redis.call(ARGV[6] == '1' and 'rpush' or 'lpush', queue, payload)
  end
  take_hold(hold, ARGV[2], ARGV[4], payload)
  return {1, ARGV[2]}
end
if conflict == 'replace' or conflict == 'after' then
  local new = held[2] and exchange(held[2], held[1])
  if new then
    redis.call('hset', hold, 'payload', new)
    count_duplicate(KEYS[4], ARGV[9], 'replaced')
    return {2, held[1]}
  end
end
-- A job does not wait for its own end: its enqueuer has not got the answer, and tries again.
if conflict ~= 'after' or held[1] == ARGV[2] then
  if held[1] ~= ARGV[2] then count_duplicate(KEYS[4], ARGV[9], 'dropped') end
  return {0, held[1]}
end
local due = ARGV[5] ~= '' and ARGV[5] or '0'
local successor = held[4] and exchange(held[4], held[3])
if successor then
  redis.call('hset', hold, 'next', successor, 'next_at', due)
  count_duplicate(KEYS[4], ARGV[9], 'replaced')
  return {2, held[3]}
end
redis.call('zadd', scheduled, ARGV[8], payload)
redis.call('hset', hold, 'next_id', ARGV[2], 'next', payload, 'next_at', due)
return {3, held[1]}
