-- Shared by the scripts that say `-- include even_if_full`: lets a script write although Redis's memory is full, for
-- what it does makes room soon. Redis refuses in a script the commands that may need memory, unless another has written
-- before: this one does, and changes nothing.
local function even_if_full(list)
  redis.pcall('ltrim', list, 0, -1)
end
