-- Shared by scripts with `-- include reopen_record`: removes a record that says that its job has ended in one of some
-- ways, because the job is to run again. A process that waits for the job from now on is not answered by its old end.
-- states: {state = true, …}.
local function reopen_record(record, states)
  -- pcall: a key of another type must not keep the job from its place.
  local state = redis.pcall('hget', record, 'state')
  if type(state) == 'string' and states[state] then
    redis.call('del', record)
  end
end
