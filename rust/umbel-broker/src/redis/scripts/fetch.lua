-- Moves up to ARGV[1] messages from the lists to the unacked records of this worker.
--
-- KEYS[1] unacked (hash)          KEYS[2] unacked_index (zset)
-- KEYS[3] heartbeat of the worker KEYS[4] workers (zset, scored by the end of their lease)
-- KEYS[5] delayed (zset)
-- KEYS[6...] lists: for each priority step in order, each queue in order of turn
-- ARGV[1] how many                ARGV[2] tags' common beginning, a number of eight digits or more following
-- ARGV[3] the number before the first      ARGV[4] epoch of this connection
-- ARGV[5] lease in ms             ARGV[6] worker id
-- ARGV[7] number of queues
-- ARGV[8...] for each queue what follows the envelope in its unacked record
--
-- Returns {'ok', now, score of the earliest delayed message or '', position of its queue, payload, position, payload, ...},
-- or {'fenced'} when a newer connection of this worker has taken over: then nothing was moved.

local unacked, index, heartbeat = KEYS[1], KEYS[2], KEYS[3]
local lease, epoch, queues = ARGV[5], ARGV[4], tonumber(ARGV[7])
local clock = redis.call('TIME')
local now = clock[1] .. '.' .. string.format('%06d', clock[2])

-- First a write that needs no memory: a server over its limit refuses a script's first costly write, but not later
-- ones, and taking messages is what makes room again.
redis.call('PEXPIRE', heartbeat, lease)
local holder = redis.call('GET', heartbeat)
if holder and holder ~= epoch then
  return {'fenced'}
end
if not holder then
  redis.call('SET', heartbeat, epoch, 'PX', lease)
  redis.call('ZADD', KEYS[4], clock[1] * 1000 + math.floor(clock[2] / 1000) + lease, ARGV[6])
end

local left, number = tonumber(ARGV[1]), tonumber(ARGV[3])
local earliest = redis.call('ZRANGE', KEYS[5], 0, 0, 'WITHSCORES')
local reply = {'ok', now, earliest[2] or ''}

-- Recorded before they are removed: no error in between can lose them.
local function take(list, queue, share)
  local found = redis.call('LRANGE', list, -share, -1)
  local count = #found
  if count == 0 then
    return 0
  end
  local records, scores, after = {}, {}, ARGV[7 + queue]
  for i = count, 1, -1 do
    number = number + 1
    local tag = ARGV[2] .. string.format('%08d', number)
    records[#records + 1] = tag
    records[#records + 1] = '[' .. found[i] .. after
    scores[#scores + 1] = now
    scores[#scores + 1] = tag
    reply[#reply + 1] = queue
    reply[#reply + 1] = found[i]
  end
  redis.call('HSET', unacked, unpack(records))
  redis.call('ZADD', index, unpack(scores))
  redis.call('LTRIM', list, 0, -count - 1)
  left = left - count
  return count
end

local list = 5
while left > 0 and list < #KEYS do
  local rest = {}
  for queue = 1, queues do
    if left > 0 then
      local share = math.ceil(left / (queues - queue + 1))
      if take(KEYS[list + queue], queue, share) == share then
        rest[#rest + 1] = queue
      end
    end
  end
  -- What some queues left of their share goes to those that have more.
  for _, queue in ipairs(rest) do
    if left > 0 then
      take(KEYS[list + queue], queue, left)
    end
  end
  list = list + queues
end
return reply
