-- Shared by the scripts that say `-- include owner`: whose a unique key is, as what it holds tells: the id of the job that
-- waits. '' where that is not told, as by gocraft/work: then it is the key of whichever job is asked about.
local function waiting_of(newest)
  return string.match(string.sub(newest, -200), ',"waiting"[:]"([%w_-]*)"}$')
end
local function owner_of(held)
  return string.match(held, '^waiting:([%w_-]+)$') or waiting_of(held) or ''
end
-- Deletes a unique key, but for one that is another job's. pcall: what is no string is nobody's.
local function let_go(key, id)
  local held = redis.pcall('get', key)
  local owner = type(held) == 'string' and owner_of(held) or ''
  return (owner == '' or owner == id) and redis.call('del', key) or 0
end
