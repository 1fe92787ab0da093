-- Shared by the scripts that keep lines. Preceded by slots.lua, whose `base`, `waiting:<name>` and delayed messages these use.
--
-- lines (hash: name to how many of its messages are in the queue)   lines_moved (zset: those names by when they moved, in ms)

-- They are made when they are first asked for: most calls of a script need none of them.

local lines_functions
local function lines()
  if lines_functions then
    return lines_functions
  end

  local function milliseconds()
    local clock = redis.call('TIME')
    return string.format('%d', clock[1] * 1000 + math.floor(clock[2] / 1000))
  end

  local function inside(base, name)
    return tonumber(redis.call('HGET', base .. 'lines', name) or 0)
  end

  local function enter_queue(base, name)
    redis.call('HINCRBY', base .. 'lines', name, 1)
    redis.call('ZADD', base .. 'lines_moved', milliseconds(), name)
  end

  -- A new message goes to the back of its queue, or waits for those before it in its line.
  local function stand_in_line(list, base, name, window, due, id, envelope)
    if redis.call('EXISTS', base .. 'waiting:' .. name) == 0 and inside(base, name) < tonumber(window) then
      redis.call('LPUSH', list, envelope)
      enter_queue(base, name)
    else
      redis.call('HSET', base .. 'delayed_messages', id, envelope)
      redis.call('ZADD', base .. 'delayed', due, id)
      redis.call('LPUSH', base .. 'waiting:' .. name, id)
    end
  end

  local function let_in(base, name, most, window)
    local prefix = string.sub(base, 1, -string.len('umbel:') - 1)
    for _ = 1, math.min(most, window - inside(base, name)) do
      local id, envelope
      repeat
        id = redis.call('RPOP', base .. 'waiting:' .. name)
        envelope = id and redis.call('HGET', base .. 'delayed_messages', id)
      until envelope or not id
      if not id then
        break
      end
      redis.call('LPUSH', prefix .. string.match(id, '\31(.*)$'), envelope)
      redis.call('HDEL', base .. 'delayed_messages', id)
      redis.call('ZREM', base .. 'delayed', id)
      enter_queue(base, name)
    end
    if inside(base, name) == 0 then
      redis.call('HDEL', base .. 'lines', name)
      redis.call('ZREM', base .. 'lines_moved', name)
    end
  end

  -- A message of a line was taken from its queue: the next comes in.
  local function give_up_place(base, name, window)
    if redis.call('HEXISTS', base .. 'lines', name) == 1 then
      redis.call('HSET', base .. 'lines', name, math.max(inside(base, name) - 1, 0))
      redis.call('ZADD', base .. 'lines_moved', milliseconds(), name)
      let_in(base, name, 1, tonumber(window))
    end
  end

  -- Lines that have not moved for `stale` ms begin anew.
  local function look_after_lines(base, now, stale, most, window)
    local moved = base .. 'lines_moved'
    for _, name in ipairs(redis.call('ZRANGEBYSCORE', moved, '-inf', string.format('%d', now - stale), 'LIMIT', 0, most)) do
      redis.call('HSET', base .. 'lines', name, 0)
      redis.call('ZADD', moved, string.format('%d', now), name)
      let_in(base, name, window, window)
    end
  end

  lines_functions = {stand = stand_in_line, give_up = give_up_place, look_after = look_after_lines}
  return lines_functions
end
