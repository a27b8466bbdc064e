-- Shared by scripts with `-- include unique_owner`: the owner of a unique key, which is the id of the waiting job, read
-- from the key's value. '' if the value does not name one, as gocraft/work's; then any job may free the key.
local function waiting_id(newest)
  return string.match(string.sub(newest, -200), ',"waiting"[:]"([%w_-]*)"}$')
end
local function owner_id(value)
  return string.match(value, '^waiting:([%w_-]+)$') or waiting_id(value) or ''
end
-- Deletes a unique key unless another job has taken it. pcall: a key that is not a string has no owner.
local function delete_unless_taken(key, id)
  local value = redis.pcall('get', key)
  local owner = type(value) == 'string' and owner_id(value) or ''
  return (owner == '' or owner == id) and redis.call('del', key) or 0
end
