-- Shared by scripts with `-- include delete_if_wrong_type`: deletes a key that holds another type than it must. Only
-- for keys whose data exist elsewhere too: the pools that are alive write them again.
local function delete_if_wrong_type(kind, key)
  local found = redis.call('type', key).ok
  if found ~= kind and found ~= 'none' then
    redis.call('del', key)
  end
end
