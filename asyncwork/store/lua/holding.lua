-- Shared by the scripts that say `-- include holding`: returns what a unique key is to hold for a job that was given a
-- key map: its payload, which tells the id of the job that waits and whose place it takes: that of the job whose key it
-- is by what it held before, or its own.
local function holding(head, id, tail, before)
  if head == '1' then
    return head
  end
  local readable, job = pcall(cjson.decode, type(before) == 'string' and before or '')
  local waiting = readable and type(job) == 'table' and (job['waiting'] or job['id'])
  if type(waiting) == 'string' and string.find(waiting, '^[%w_-]+$') then
    id = waiting
  end
  return head .. id .. tail
end
