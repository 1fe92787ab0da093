-- Makes this connection the one that acts for a worker; what an older one still has on its way is fenced off.
--
-- KEYS[1] heartbeat of the worker   KEYS[2] workers (zset)
-- ARGV[1] epoch of this connection  ARGV[2] lease in ms   ARGV[3] worker id
--
-- Returns 1.

local clock = redis.call('TIME')
redis.call('PEXPIRE', KEYS[1], ARGV[2]) -- see fetch.lua: a full server lets the rest through
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('ZADD', KEYS[2], string.format('%d', clock[1] * 1000 + math.floor(clock[2] / 1000) + ARGV[2]), ARGV[3])
return 1
