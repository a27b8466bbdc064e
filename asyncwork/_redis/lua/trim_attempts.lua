-- Shared by scripts with `-- include trim_attempts`: leaves the last 100 attempts in a record. The field of an attempt
-- is 'attempt:' and the time at which it started, so the oldest come first.
local function trim_attempts(record)
  local attempts = {}
  for _, field in ipairs(redis.call('hkeys', record)) do
    if string.sub(field, 1, 8) == 'attempt:' then
      attempts[#attempts + 1] = field
    end
  end
  table.sort(attempts)
  for i = 1, #attempts - 100 do
    redis.call('hdel', record, attempts[i])
  end
end
