-- Shared by scripts with `-- include batch_of`: the id of the batch that a job is a member of, read from the job's id; nil
-- if it is not a member.
local function batch_of(id)
  return #id > 25 and string.match(id, '^([0-9a-f]+)%-%d+$') or nil
end
