-- Shared by the scripts that take slots and give them up. `base` is what all keys of ours begin with, the prefix before it
-- that of the lists.
--
-- slots:<name> (set of tags)             slots_of:<worker> (set: name, unit separator, tag)
-- waiting:<name> (list of delayed ids)   limits (hash: name to limit, while something waits)
-- woken:<name> (zset: messages for which a slot is kept, by its end in ms)
-- limits_seen (zset: those names by when they were looked at, in ms)

-- They are made when they are first asked for: most calls of a script need none of them.

local slots_functions
local function slots()
  if slots_functions then
    return slots_functions
  end

  -- How long a slot is kept for a message that was woken for it: `slots::KEPT_FOR`, in ms.
  local KEPT_FOR = 30000

  local function milliseconds()
    local clock = redis.call('TIME')
    return clock[1] * 1000 + math.floor(clock[2] / 1000)
  end

  -- What tells a message from others.
  local function identity(envelope)
    return string.match(envelope, '"delivery_tag": "([^"]*)"') or ''
  end

  -- Slots of a name that are taken or kept.
  local function used_slots(base, name)
    redis.call('ZREMRANGEBYSCORE', base .. 'woken:' .. name, '-inf', string.format('%d', milliseconds()))
    return redis.call('SCARD', base .. 'slots:' .. name) + redis.call('ZCARD', base .. 'woken:' .. name)
  end

  -- Moves messages that wait to the fronts of their queues, those that wait longest in front.
  local function wake(base, name, count)
    local prefix, woken = string.sub(base, 1, -string.len('umbel:') - 1), {}
    while #woken < count do
      local id = redis.call('RPOP', base .. 'waiting:' .. name)
      if not id then
        redis.call('HDEL', base .. 'limits', name)
        redis.call('ZREM', base .. 'limits_seen', name)
        break
      end
      local envelope = redis.call('HGET', base .. 'delayed_messages', id)
      if envelope then
        woken[#woken + 1] = {prefix .. string.match(id, '\31(.*)$'), envelope}
        redis.call('HDEL', base .. 'delayed_messages', id)
        redis.call('ZREM', base .. 'delayed', id)
      end
    end
    for i = #woken, 1, -1 do
      local list, envelope = unpack(woken[i])
      local until_then = string.format('%d', milliseconds() + KEPT_FOR)
      redis.call('ZADD', base .. 'woken:' .. name, until_then, identity(envelope))
      redis.call('PEXPIRE', base .. 'woken:' .. name, 2 * KEPT_FOR)
      redis.call('RPUSH', list, envelope)
    end
  end

  -- Wakes the next that waits, if there is a slot for it.
  local function wake_next(base, name)
    local limit = redis.call('HGET', base .. 'limits', name)
    if limit and used_slots(base, name) < tonumber(limit) then
      wake(base, name, 1)
    end
  end

  -- Whether a message may enter: one that has its slot or was woken for it, or one before which nobody waits. `id` tells what
  -- it is.
  local function admits(base, name, limit, tag, id)
    if redis.call('SISMEMBER', base .. 'slots:' .. name, tag) == 1 then
      return true, false
    end
    local used = used_slots(base, name)
    local is_woken = redis.call('ZCARD', base .. 'woken:' .. name) > 0
      and redis.call('ZSCORE', base .. 'woken:' .. name, id()) and true or false
    local free = used - (is_woken and 1 or 0) < tonumber(limit)
    return free and (is_woken or redis.call('EXISTS', base .. 'waiting:' .. name) == 0), is_woken
  end

  -- Takes the slots of a message that is held: `wish` is {_, base, worker, due, id, envelope, name, limit, name, limit, ...}.
  -- Returns 2 if it has entered, 1 if it waits now, or 'ask' if it is to wait and the envelope is not there (its id is '').
  local function enter(unacked, tag, wish)
    local base, worker, due, id, envelope = wish[2], wish[3], wish[4], wish[5], wish[6]
    local who
    local function own_identity()
      who = who or identity(redis.call('HGET', unacked, tag) or '')
      return who
    end
    local full, limit, first
    for i = 7, #wish, 2 do
      local admitted, is_woken = admits(base, wish[i], wish[i + 1], tag, own_identity)
      if not admitted then
        full, limit, first = wish[i], wish[i + 1], is_woken
        break
      end
    end
    if full and id == '' then
      return 'ask'
    end
    for i = 7, #wish, 2 do
      if redis.call('ZCARD', base .. 'woken:' .. wish[i]) > 0 then
        redis.call('ZREM', base .. 'woken:' .. wish[i], own_identity())
      end
      if not full then
        redis.call('SADD', base .. 'slots:' .. wish[i], tag)
        redis.call('SADD', base .. 'slots_of:' .. worker, wish[i] .. '\31' .. tag)
      end
    end
    if not full then
      return 2
    end
    redis.call('HSET', base .. 'delayed_messages', id, envelope)
    redis.call('ZADD', base .. 'delayed', due, id)
    redis.call(first and 'RPUSH' or 'LPUSH', base .. 'waiting:' .. full, id)
    redis.call('HSET', base .. 'limits', full, limit)
    redis.call('ZADD', base .. 'limits_seen', 'NX', string.format('%d', milliseconds()), full)
    for i = 7, #wish, 2 do
      -- It may have been woken for one that somebody else can have.
      wake_next(base, wish[i])
    end
    return 1
  end

  -- A slot is free again, if it was taken.
  local function give_up_slot(unacked, base, worker, tag, name, limit)
    if redis.call('SREM', base .. 'slots:' .. name, tag) == 0 and redis.call('EXISTS', base .. 'woken:' .. name) == 1 then
      redis.call('ZREM', base .. 'woken:' .. name, identity(redis.call('HGET', unacked, tag) or ''))
    end
    redis.call('SREM', base .. 'slots_of:' .. worker, name .. '\31' .. tag)
    if redis.call('HEXISTS', base .. 'limits', name) == 1 then
      redis.call('HSET', base .. 'limits', name, limit)
      wake_next(base, name)
    end
  end

  -- The slots of a worker that is gone.
  local function vacate(base, worker)
    for _, member in ipairs(redis.call('SMEMBERS', base .. 'slots_of:' .. worker)) do
      local name, tag = string.match(member, '^(.*)\31([^\31]*)$')
      redis.call('SREM', base .. 'slots:' .. name, tag)
      wake_next(base, name)
    end
    redis.call('DEL', base .. 'slots_of:' .. worker)
  end

  -- Wakes those that wait although slots are free; each limit is looked at again after `pause` ms. `slots::to_wake` in Rust
  -- says how many.
  local function look_after_slots(base, now, pause, most, stranded)
    local seen = base .. 'limits_seen'
    for _, name in ipairs(redis.call('ZRANGEBYSCORE', seen, '-inf', string.format('%d', now - pause), 'LIMIT', 0, most)) do
      redis.call('ZADD', seen, string.format('%d', now), name)
      local limit, used = redis.call('HGET', base .. 'limits', name) or 0, used_slots(base, name)
      local free = math.max(tonumber(limit) - used, 0)
      wake(base, name, used == 0 and math.max(free, stranded) or free)
    end
  end

  slots_functions = {enter = enter, give_up = give_up_slot, vacate = vacate, look_after = look_after_slots}
  return slots_functions
end
