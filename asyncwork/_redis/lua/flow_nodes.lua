-- Shared by settle_member: what follows in a flow when nodes of it change. A flow is a batch whose members are nodes.
-- Nodes that follow the same nodes are a set, with one count of those before them. So the set of a fan-in or a fan-out of
-- thousands costs one field, and each of them one step.
-- In the hash of the nodes, the fifth key of the flow:
--   set:FIRST   'COUNT WHEN STATE LEFT BAD SKIPPED' of the nodes FIRST to FIRST + COUNT - 1. WHEN is success, done or
--               failure, STATE is waiting, released, cancelled or skipped. LEFT: how many before them have not ended; BAD:
--               how many have failed or were cancelled; SKIPPED: how many were skipped.
--   next:BLOCK  'FROM COUNT SET …': which sets follow which nodes, of all ranges of nodes that have some of the numbers
--               from 64 * BLOCK to 64 * BLOCK + 63.
--   job:NODE    the payload of a node that waits; '+SECONDS PAYLOAD' if it is to wait for some seconds more, and '@TIME
--               PAYLOAD' until an epoch second.
--   want:BLOCK  'FROM COUNT …': the nodes whose results others take. result:NODE: the result, JSON, or '!' and why there
--               is none.
--   skips       'FROM COUNT …': the nodes that were skipped.
--   rest:N      a step that was not taken yet. The field `rest` of the flow, 'HEAD TAIL', says which there are.
--   settle      the entry of the scheduled set by which the rest is gone on with.
-- A change of nodes, and what it makes of others, are steps. They are taken in their order, some at a time, and new ones
-- come last. The bits of a node change with its step; the counts of the sets after it with the step that follows.

-- Returns the functions for flows. They are made when the first flow is met, because each function takes time to make.
local function make_flow_functions()
  local MOST_STEPS, BLOCK = 500, 64

  local function parse_step(text)
    local step = {}
    for word in string.gmatch(text, '%S+') do
      step[#step + 1] = tonumber(word) or word
    end
    return step
  end

  -- Returns the nodes of a flow: what is known of them in this script. pcall: a key of another type must not keep a job from
  -- ending.
  local function nodes_of(first, batch)
    if not batch.nodes then
      local found = redis.call('hmget', KEYS[first], 'rest', 'cancel')
      local head, tail = string.match(found[1] or '', '^(%-?%d+) (%-?%d+)$')
      batch.nodes = {
        key = KEYS[first + 4], first = first, batch = batch, cancelled = found[2], had_rest = found[1],
        is_hash = type(redis.pcall('hlen', KEYS[first + 4])) == 'number',
        head = tonumber(head) or 0, tail = tonumber(tail) or 0, steps = {}, at = 1, sets = {}, edges = {}
      }
    end
    return batch.nodes
  end

  local function add_step(nodes, ...)
    nodes.steps[#nodes.steps + 1] = {...}
  end

  local function next_step(nodes)
    while nodes.head < nodes.tail do
      local field = 'rest:' .. nodes.head
      local text = redis.call('hget', nodes.key, field)
      redis.call('hdel', nodes.key, field)
      nodes.head = nodes.head + 1
      if text then
        return parse_step(text)
      end
    end
    nodes.at = nodes.at + 1
    return nodes.steps[nodes.at - 1]
  end

  local function set_of(nodes, number)
    local set = nodes.sets[number]
    if set == nil then
      local text = redis.call('hget', nodes.key, 'set:' .. number)
      local count, when, state, left, bad, skipped =
        string.match(text or '', '^(%d+) (%l+) (%l+) (%-?%d+) (%-?%d+) (%-?%d+)$')
      set = count and {
        count = tonumber(count), when = when, state = state, left = tonumber(left), bad = tonumber(bad),
        skipped = tonumber(skipped)
      } or false
      nodes.sets[number] = set
    end
    return set
  end

  local function edges_of(nodes, block)
    local edges = nodes.edges[block]
    if not edges then
      edges = parse_step(redis.call('hget', nodes.key, 'next:' .. block) or '')
      nodes.edges[block] = edges
    end
    return edges
  end

  -- Decides what becomes of a set, by how those before it have ended.
  local function decide(nodes, number, set)
    local goes_on = set.bad == 0 or nodes.batch.flow == 'continue'
    if set.state == 'cancelled' and set.when == 'success' and goes_on and not nodes.cancelled then
      -- A node before it has failed, and was tried again.
      set.state = 'waiting'
      add_step(nodes, 'restore', number, set.count, number)
    end
    if set.state ~= 'waiting' then
      return
    end
    if set.when == 'success' and not goes_on then
      set.state = 'cancelled'
      add_step(nodes, 'cancel', number, set.count, number)
    elseif set.left > 0 then
      return
    elseif set.when == 'success' and set.skipped > 0 or set.when == 'failure' and set.bad == 0 then
      set.state = 'skipped'
      add_step(nodes, 'skip', number, set.count, number)
    elseif nodes.cancelled then
      set.state = 'cancelled'
      add_step(nodes, 'cancel', number, set.count, number)
    else
      set.state = 'released'
      add_step(nodes, 'release', number, set.count, number)
    end
  end

  local COUNTS = {left = 'left', failed = 'bad', cancelled = 'bad', skipped = 'skipped'}

  -- A step: nodes have changed, which is counted in the sets after them.
  -- Returns how many sets were changed, and what is left of the step if that were too many.
  local function change_nodes(nodes, step, most)
    local _, from, count, before, after, at = unpack(step)
    local used = 0
    while count > 0 do
      local block = math.floor(from / BLOCK)
      local here, edges = math.min(count, BLOCK * (block + 1) - from), edges_of(nodes, block)
      while 3 * at < #edges do
        if used >= most then
          return used, {'change', from, count, before, after, at}
        end
        local start, many, number = edges[3 * at + 1], edges[3 * at + 2], edges[3 * at + 3]
        local both = math.min(from + here, start + many) - math.max(from, start)
        local set = both > 0 and set_of(nodes, number)
        if set then
          local less, more = COUNTS[before], COUNTS[after]
          if less then set[less] = set[less] - both end
          if more then set[more] = set[more] + both end
          set.changed = true
          decide(nodes, number, set)
          used = used + 1
        end
        at = at + 1
      end
      from, count, at = from + here, count - here, 0
    end
    return used
  end

  -- Changes those of some nodes that a function changes, and has that followed. Returns how many there were. A node that has
  -- ended otherwise meanwhile stays as it is, and is not counted twice.
  local function change_each(nodes, from, count, before, after, change)
    local total, start = 0, from
    for node = from, from + count do
      if node == from + count or not change(node) then
        if node > start then
          add_step(nodes, 'change', start, node - start, before, after, 0)
          total = total + node - start
        end
        start = node + 1
      end
    end
    return total
  end

  -- Notes that nodes which had not ended have: 'failed' has the second bitmap, 'cancelled' the third, 'skipped' none.
  local function end_nodes(nodes, from, count, state, bitmap)
    local ended = KEYS[nodes.first + 1]
    local total = change_each(nodes, from, count, 'left', state, function(node)
      if redis.pcall('setbit', ended, node, 1) ~= 0 then
        return false
      end
      if bitmap then
        redis.pcall('setbit', KEYS[nodes.first + bitmap], node, 1)
      end
      return true
    end)
    nodes.batch.left = nodes.batch.left - total
    return total
  end

  local function remove_jobs(nodes, from, count)
    local fields = {}
    for node = from, from + count - 1 do
      fields[#fields + 1] = 'job:' .. node
    end
    redis.call('hdel', nodes.key, unpack(fields))
  end

  local function cancel_nodes(nodes, from, count)
    nodes.batch.cancelled = nodes.batch.cancelled + end_nodes(nodes, from, count, 'cancelled', 3)
  end

  local function skip_nodes(nodes, from, count)
    remove_jobs(nodes, from, count)
    if end_nodes(nodes, from, count, 'skipped') > 0 then
      local skips = redis.call('hget', nodes.key, 'skips')
      redis.call('hset', nodes.key, 'skips', (skips or '') .. from .. ' ' .. count .. ' ')
    end
  end

  -- The nodes that were cancelled because of one before them wait again.
  local function restore_nodes(nodes, from, count)
    local total = change_each(nodes, from, count, 'cancelled', 'left', function(node)
      if redis.pcall('setbit', KEYS[nodes.first + 3], node, 0) ~= 1 then
        return false
      end
      redis.pcall('setbit', KEYS[nodes.first + 1], node, 0)
      return true
    end)
    nodes.batch.left, nodes.batch.cancelled = nodes.batch.left + total, nodes.batch.cancelled - total
  end

  -- A node whose payload is gone can never run.
  local function fail_node(nodes, node)
    nodes.batch.failed = nodes.batch.failed + end_nodes(nodes, node, 1, 'failed', 2)
  end

  -- Schedules nodes; returns whether that was possible, and how many are due.
  local function release_nodes(nodes, from, count, scheduled)
    local fields, now, due = {}, tonumber(redis.call('time')[1]), 0
    for node = from, from + count - 1 do
      fields[#fields + 1] = 'job:' .. node
    end
    local added = {}
    local found, lost = redis.call('hmget', nodes.key, unpack(fields)), {}
    for i, text in ipairs(found) do
      local sign, seconds, payload = string.match(text or '', '^([+@])(%d+) (.*)$')
      local at = sign == '+' and now + seconds or sign and math.max(now, seconds) or now
      if text then
        added[#added + 1] = at
        added[#added + 1] = payload or text
        due = due + (at == now and 1 or 0)
      else
        lost[#lost + 1] = from + i - 1
      end
    end
    -- pcall: while the set is of another type, the step stays, and the doctor finds it.
    if #added > 0 and type(redis.pcall('zadd', scheduled, unpack(added))) ~= 'number' then
      return false, 0
    end
    redis.call('hdel', nodes.key, unpack(fields))
    for _, node in ipairs(lost) do
      fail_node(nodes, node)
    end
    return true, due
  end

  -- A step: nodes of a set are released, cancelled, skipped or wait again.
  -- Returns how many, what is left of the step, and how many jobs are due.
  local function act_on_nodes(nodes, step, most, scheduled)
    local what, from, count, number = unpack(step)
    local some, due, done = math.min(count, most), 0, true
    if what == 'release' and nodes.cancelled then
      -- Cancelled since then. Those of the set that have been released are cancelled by the mark of the flow.
      what = 'cancel'
      local set = set_of(nodes, number)
      if set then
        set.state, set.changed = 'cancelled', true
      end
    end
    if what == 'release' then
      done, due = release_nodes(nodes, from, some, scheduled)
    elseif what == 'cancel' then
      cancel_nodes(nodes, from, some)
    elseif what == 'skip' then
      skip_nodes(nodes, from, some)
    elseif what == 'restore' then
      restore_nodes(nodes, from, some)
    end
    if not done then
      return most, step, 0
    end
    return some, some < count and {what, from + some, count - some, number} or nil, due
  end

  local function write_nodes(nodes, rest, scheduled)
    for number, set in pairs(nodes.sets) do
      if set and set.changed then
        local text = string.format('%d %s %s %d %d %d', set.count, set.when, set.state, set.left, set.bad, set.skipped)
        redis.call('hset', nodes.key, 'set:' .. number, text)
      end
    end
    if rest then
      nodes.head = nodes.head - 1
      redis.call('hset', nodes.key, 'rest:' .. nodes.head, table.concat(rest, ' '))
    end
    for i = nodes.at, #nodes.steps do
      redis.call('hset', nodes.key, 'rest:' .. nodes.tail, table.concat(nodes.steps[i], ' '))
      nodes.tail = nodes.tail + 1
    end
    if nodes.head < nodes.tail then
      redis.call('hset', KEYS[nodes.first], 'rest', nodes.head .. ' ' .. nodes.tail)
      local entry = redis.call('hget', nodes.key, 'settle')
      if entry then
        redis.pcall('zadd', scheduled, redis.call('time')[1], entry)
      end
      return 1
    elseif nodes.had_rest then
      redis.call('hdel', KEYS[nodes.first], 'rest')
    end
    return 0
  end

  -- Takes the steps of a flow, some at most. Returns how many jobs are due.
  local function advance(first, batch, scheduled)
    local nodes, due, left, rest = nodes_of(first, batch), 0, MOST_STEPS, nil
    if not nodes.is_hash then
      return 0
    end
    while left > 0 and not rest do
      local step = next_step(nodes)
      if not step then
        break
      end
      local used, jobs
      if step[1] == 'change' then
        used, rest = change_nodes(nodes, step, left)
      else
        used, rest, jobs = act_on_nodes(nodes, step, left, scheduled)
        due = due + jobs
      end
      left = left - math.max(used, 1)
    end
    return due + write_nodes(nodes, rest, scheduled)
  end

  -- Takes note of how a node has ended, for those after it.
  local function note(first, batch, index, before, state, result)
    local nodes = nodes_of(first, batch)
    if not nodes.is_hash then
      return
    end
    if result then
      local wanted = redis.call('hget', nodes.key, 'want:' .. math.floor(index / BLOCK))
      for from, count in string.gmatch(wanted or '', '(%d+) (%d+)') do
        if tonumber(from) <= index and index < from + count then
          redis.call('hset', nodes.key, 'result:' .. index, result)
          break
        end
      end
    end
    add_step(nodes, 'change', index, 1, before, state, 0)
  end

  return {
    advance = advance, note = note, nodes_of = nodes_of, set_of = set_of, add_step = add_step, decide = decide,
    parse_step = parse_step, COUNTS = COUNTS, BLOCK = BLOCK
  }
end

local flow_functions
local function flows()
  flow_functions = flow_functions or make_flow_functions()
  return flow_functions
end
