-- Shared by scripts with `-- include take_hold`: lets a job hold a key, if the key is free or the job holds it already.
-- payload: the job's bytes where it waits, by which they can be exchanged for another's later; '' if they must not be.
-- Returns '' if the job holds the key, otherwise the id of the job that does.
local function take_hold(hold, id, until_what, payload)
  -- pcall: a key of another type is not a hold.
  local holder = redis.pcall('hget', hold, 'id')
  if type(holder) == 'table' then
    redis.call('del', hold)
    holder = false
  end
  if holder and holder ~= id then
    return holder
  end
  if not holder then
    redis.call('hset', hold, 'id', id, 'since', redis.call('time')[1], 'until', until_what)
  end
  if payload ~= '' then
    redis.call('hset', hold, 'payload', payload)
  else
    redis.call('hdel', hold, 'payload')
  end
  return ''
end
