-- Shared by scripts with `-- include reopen_record`: removes from a record that its job has ended in one of some ways,
-- because the job is to run again. A process that waits for the job from now on is not answered by its old end. The
-- attempts stay.
-- states: {state = true, …}.
local function reopen_record(record, states)
  -- pcall: a key of another type must not keep the job from its location.
  local state = redis.pcall('hget', record, 'state')
  if type(state) == 'string' and states[state] then
    for _, field in ipairs(redis.call('hkeys', record)) do
      if string.sub(field, 1, 8) ~= 'attempt:' then
        redis.call('hdel', record, field)
      end
    end
  end
end
