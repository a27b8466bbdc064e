-- Shared by scripts with `-- include allow_when_oom`: lets a script write although Redis's memory is full, because what
-- the script does frees memory soon. Within a script Redis refuses commands that may need memory unless another one has
-- written before. This one writes, changes nothing and needs no memory.
local function allow_when_oom(list)
  redis.pcall('ltrim', list, 0, -1)
end
