-- Shared by scripts with `-- include crashes_of`: how many times a job was running when a process died. If the job may
-- have to be cancelled, the number is that, plus one, times -1: -1 for no crash.
-- include batch_of

-- How many ids in a payload are searched for a mark. A payload with more, or with an id that is spelled with escapes,
-- may have to be cancelled: the worker finds out.
local MOST_IDS = 100

-- Returns whether a payload has the id of a job that is to be cancelled, maybe only within its arguments.
local function may_be_cancelled(payload, cancels)
  if redis.call('exists', cancels) == 0 then
    return false
  end
  local looked = 0
  for id in string.gmatch(payload, '"id"%s*:%s*"([^"]*)"') do
    looked = looked + 1
    -- pcall: a key of another type must keep no job from running.
    if looked > MOST_IDS or string.find(id, '\\', 1, true) or redis.pcall('hexists', cancels, id) == 1
      or batch_of(id) and redis.pcall('hexists', cancels, batch_of(id)) == 1
    then
      return true
    end
  end
  return false
end

local function crashes_of(payload, crashes, cancels)
  local found = redis.pcall('hget', crashes, redis.sha1hex(payload))
  local count = type(found) == 'string' and tonumber(found) or 0
  return may_be_cancelled(payload, cancels) and -1 - count or count
end
