-- Says that a worker is alive and that what it holds is still being worked on; looks after what waits for a slot. Preceded
-- by slots.lua and lines.lua.
--
-- KEYS[1] heartbeat of the worker   KEYS[2] workers (zset, scored by the end of their lease in ms)
-- KEYS[3] unacked_index (zset)      KEYS[4] delayed (zset)
-- ARGV[1] epoch of this connection  ARGV[2] lease in ms   ARGV[3] worker id
-- ARGV[4] what keys of ours begin with   ARGV[5] limits to look after   ARGV[6] messages to wake where nobody has a slot
-- ARGV[7] life in ms of a line that does not move   ARGV[8] window of lines
-- ARGV[9...] tags it holds
--
-- Returns {'ok', now, score of the earliest delayed message or '', ids of workers whose lease seems over...}, or
-- {'fenced'} when a newer connection of this worker has taken over.

local clock = redis.call('TIME')
local now = clock[1] .. '.' .. string.format('%06d', clock[2])
local now_ms = clock[1] * 1000 + math.floor(clock[2] / 1000)

redis.call('PEXPIRE', KEYS[1], ARGV[2]) -- see fetch.lua: a full server lets the rest through
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  return {'fenced'}
end
if not holder then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
redis.call('ZADD', KEYS[2], string.format('%d', now_ms + ARGV[2]), ARGV[3])

local scores = {}
for at = 9, #ARGV do
  scores[#scores + 1] = now
  scores[#scores + 1] = ARGV[at]
end
if #scores > 0 then
  redis.call('ZADD', KEYS[3], 'XX', unpack(scores))
end

slots().look_after(ARGV[4], now_ms, tonumber(ARGV[2]), ARGV[5], tonumber(ARGV[6]))
lines().look_after(ARGV[4], now_ms, tonumber(ARGV[7]), ARGV[5], tonumber(ARGV[8]))

local earliest = redis.call('ZRANGE', KEYS[4], 0, 0, 'WITHSCORES')
local reply = {'ok', now, earliest[2] or ''}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', string.format('%d', now_ms), 'LIMIT', 0, 16)) do
  reply[#reply + 1] = id
end
return reply
