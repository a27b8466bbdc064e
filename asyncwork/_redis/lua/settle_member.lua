-- Shared by scripts with `-- include settle_member`: notes in a batch how one of its members has ended, and ends the
-- batch when the last has. The jobs that it has to schedule then are in its fields, and each of these is removed as its
-- job is scheduled. So no callback is scheduled twice.
-- first: the number in KEYS of the first key of a batch: its hash, the bitmaps of its members that have ended, have failed
--        and were cancelled, and the hash of its nodes, which it has if it is a flow.
-- include flow_nodes

local BATCH_TTL, BATCH_TTL_AFTER_SUCCESS = 30 * 86400, 86400
-- By the number of its first key, by how much the counters of a batch change; false for one that is gone.
local settled = {}

local function keep_batch(first, seconds)
  for key = first, first + 4 do
    redis.call('expire', KEYS[key], seconds)
  end
end

-- pcall: a key of another type must not keep a job from ending.
local function batch_at(first)
  local batch = settled[first]
  if batch == nil then
    local found = redis.pcall('hmget', KEYS[first], 'next', 'flow')
    batch = found[1] and {next = tonumber(found[1]), flow = found[2], left = 0, failed = 0, cancelled = 0} or false
    settled[first] = batch
  end
  return batch
end

-- Notes how a member has ended: 'done', 'failed' or 'cancelled'; 'done' and a blank may be followed by what a node of a
-- flow has returned. One that is done stays so. One that had failed and was tried again may be done now. A member of a
-- batch that is gone, or that it never had, is an ordinary job.
local function settle_member(first, index, state)
  local batch, result = batch_at(first), nil
  index = tonumber(index)
  if not batch or index >= batch.next then
    return
  end
  if #state > 4 and string.sub(state, 1, 5) == 'done ' then
    result, state = string.sub(state, 6), 'done'
  end
  local has_ended = redis.pcall('setbit', KEYS[first + 1], index, 1)
  if type(has_ended) ~= 'number' then
    return
  end
  local before = 'left'
  if has_ended == 1 then
    before = redis.pcall('getbit', KEYS[first + 2], index) == 1 and 'failed'
      or redis.pcall('getbit', KEYS[first + 3], index) == 1 and 'cancelled'
      or 'done'
  end
  if before == 'done' or before == state then
    return
  end
  if before ~= 'left' then
    redis.pcall('setbit', KEYS[first + (before == 'failed' and 2 or 3)], index, 0)
  end
  batch[before] = batch[before] - 1
  if state ~= 'done' then
    redis.pcall('setbit', KEYS[first + (state == 'failed' and 2 or 3)], index, 1)
    batch[state] = batch[state] + 1
  end
  batch.changed = true
  if batch.flow then
    flows().note(first, batch, index, before, state, result)
  else
    batch.has_failed = batch.has_failed or state == 'failed'
  end
end

-- Schedules what a field of a batch holds, and removes the field. Returns 1, or 0 if there is none.
-- pcall: while the set is of another type, the field stays, and the doctor finds it.
local function schedule_callback(first, field, scheduled, now)
  local payload = redis.call('hget', KEYS[first], field)
  if not payload or type(redis.pcall('zadd', scheduled, now, payload)) ~= 'number' then
    return 0
  end
  redis.call('hdel', KEYS[first], field)
  return 1
end

-- Ends a batch if none of its members is left and its creator adds no more. Returns how many jobs it has scheduled.
local function end_batch(first, scheduled, cancels, open_batches, unique_flows)
  local found = redis.call(
    'hmget', KEYS[first], 'left', 'open', 'failed', 'cancelled', 'ended_at', 'parent', 'rest', 'unique', 'incomplete',
    'wakes'
  )
  if not found[1] or tonumber(found[1]) > 0 or found[2] or found[7] then
    return 0
  end
  local due, now, ended = 0, redis.call('time')[1], found[5]
  local good = tonumber(found[3]) == 0 and tonumber(found[4]) == 0 and not found[9]
  if not ended then
    local id = string.sub(KEYS[first], -24)
    redis.call('hset', KEYS[first], 'ended_at', now)
    redis.pcall('hdel', cancels, id)
    redis.pcall('zrem', open_batches, id)
    if found[8] and redis.pcall('hget', unique_flows, found[8]) == id then
      redis.call('hdel', unique_flows, found[8])
    end
    if found[10] then
      redis.call('hdel', KEYS[first], 'wakes')
      for channel in string.gmatch(found[10], '[^\n]+') do
        -- pcall: the user may not be allowed to publish. Then waiting processes read the batch from time to time.
        redis.pcall('publish', channel, id)
      end
    end
  end
  due = due + schedule_callback(first, 'on_done', scheduled, now)
  if tonumber(found[3]) > 0 then
    due = due + schedule_callback(first, 'on_failure', scheduled, now)
  end
  if good then
    due = due + schedule_callback(first, 'on_success', scheduled, now)
    redis.call('hdel', KEYS[first], 'on_failure')
    keep_batch(first, BATCH_TTL_AFTER_SUCCESS)
  end
  -- The parent's member stays, so that it ends well when the failed members of this batch are done in the end.
  if found[6] and (good or not ended) and type(redis.pcall('zadd', scheduled, now, found[6])) == 'number' then
    due = due + 1
  end
  return due
end

-- Writes the counters of the batches whose members were settled. Returns 1 if jobs are due now, else 0.
local function end_batches(scheduled, cancels, open_batches, unique_flows)
  local due = 0
  for first, batch in pairs(settled) do
    if batch and batch.changed then
      if batch.flow then
        due = due + flows().advance(first, batch, scheduled)
        -- A node waits again.
        if batch.left > 0 and redis.call('hdel', KEYS[first], 'ended_at') == 1 then
          local id, found = string.sub(KEYS[first], -24), redis.call('hmget', KEYS[first], 'created_at', 'unique')
          redis.pcall('zadd', open_batches, found[1], id)
          -- It runs again, so that no other one of its text may start; if one has started, it keeps the text.
          if found[2] then
            redis.pcall('hsetnx', unique_flows, found[2], id)
          end
        end
      end
      for _, field in ipairs({'left', 'failed', 'cancelled'}) do
        if batch[field] ~= 0 then
          redis.call('hincrby', KEYS[first], field, batch[field])
        end
      end
      if redis.call('ttl', KEYS[first]) < BATCH_TTL - BATCH_TTL_AFTER_SUCCESS
        or redis.call('ttl', KEYS[first + 1]) < 0
        or batch.failed ~= 0 and redis.call('ttl', KEYS[first + 2]) < 0
        or batch.cancelled ~= 0 and redis.call('ttl', KEYS[first + 3]) < 0
        or batch.flow and redis.call('ttl', KEYS[first + 4]) < 0
      then
        keep_batch(first, BATCH_TTL)
      end
      if batch.has_failed then
        due = due + schedule_callback(first, 'on_failure', scheduled, redis.call('time')[1])
      end
      due = due + end_batch(first, scheduled, cancels, open_batches, unique_flows)
    end
  end
  return due > 0 and 1 or 0
end
