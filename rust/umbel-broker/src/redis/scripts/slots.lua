-- Shared by the scripts that take slots and give them up. `base` is what all keys of ours begin with, the prefix before it
-- that of the lists.
--
-- slots:<name> (set of tags)             slots_of:<worker> (set: name, unit separator, tag)
-- waiting:<name> (list of delayed ids)   limits (hash: name to limit, while something waits)
-- limits_seen (zset: those names by when they were looked at, in ms)

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
    redis.call('RPUSH', woken[i][1], woken[i][2])
  end
end

-- Wakes the next that waits, if there is a slot for it.
local function wake_next(base, name)
  local limit = redis.call('HGET', base .. 'limits', name)
  if limit and redis.call('SCARD', base .. 'slots:' .. name) < tonumber(limit) then
    wake(base, name, 1)
  end
end

-- Takes the slots of a message that is held: `wish` is {_, base, worker, due, id, envelope, name, limit, name, limit, ...}.
-- Returns 2 if it has entered, 1 if it waits now, or 'ask' if it is to wait and the envelope is not there (its id is '').
local function enter(tag, wish)
  local base, worker, due, id, envelope = wish[2], wish[3], wish[4], wish[5], wish[6]
  local full, limit
  for i = 7, #wish, 2 do
    local key = base .. 'slots:' .. wish[i]
    if redis.call('SCARD', key) - redis.call('SISMEMBER', key, tag) >= tonumber(wish[i + 1]) then
      full, limit = wish[i], wish[i + 1]
      break
    end
  end
  if not full then
    for i = 7, #wish, 2 do
      redis.call('SADD', base .. 'slots:' .. wish[i], tag)
      redis.call('SADD', base .. 'slots_of:' .. worker, wish[i] .. '\31' .. tag)
    end
    return 2
  end
  if id == '' then
    return 'ask'
  end
  local clock = redis.call('TIME')
  redis.call('HSET', base .. 'delayed_messages', id, envelope)
  redis.call('ZADD', base .. 'delayed', due, id)
  redis.call('LPUSH', base .. 'waiting:' .. full, id)
  redis.call('HSET', base .. 'limits', full, limit)
  redis.call('ZADD', base .. 'limits_seen', 'NX', clock[1] * 1000 + math.floor(clock[2] / 1000), full)
  for i = 7, #wish, 2 do
    -- It may have been woken for one of the others, which somebody else can have.
    if wish[i] ~= full then
      wake_next(base, wish[i])
    end
  end
  return 1
end

-- A slot is free again, if it was taken.
local function give_up_slot(base, worker, tag, name, limit)
  redis.call('SREM', base .. 'slots:' .. name, tag)
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
    local limit, taken = redis.call('HGET', base .. 'limits', name) or 0, redis.call('SCARD', base .. 'slots:' .. name)
    local free = math.max(tonumber(limit) - taken, 0)
    wake(base, name, taken == 0 and math.max(free, stranded) or free)
  end
end
