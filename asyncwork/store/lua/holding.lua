-- Shared by the scripts that say `-- include holding`: returns what a unique key is to hold for a job that was given a
-- key map: its payload, which tells the id of the job that waits and whose place it takes: its own; or where the key was
-- held before, that of the job whose key it is, and an empty one where what it held does not tell.
local function holding(head, id, tail, before)
  if head == '1' then
    return head
  end
  if before then
    local readable, job = pcall(cjson.decode, type(before) == 'string' and before or '')
    local waiting = readable and type(job) == 'table' and (job['waiting'] or job['id'])
    id = type(waiting) == 'string' and string.match(waiting, '^[%w_-]+$') or ''
  end
  return head .. id .. tail
end
