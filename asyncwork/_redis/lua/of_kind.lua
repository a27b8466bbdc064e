-- Shared by the scripts that say `-- include of_kind`: deletes a key that holds another kind of value than it must. Only
-- for keys that hold nothing of which this is the one place: the pools that live write into them what concerns them.
local function of_kind(kind, key)
  local found = redis.call('type', key).ok
  if found ~= kind and found ~= 'none' then
    redis.call('del', key)
  end
end
