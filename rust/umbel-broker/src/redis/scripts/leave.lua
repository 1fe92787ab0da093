-- Removes a worker from the register: itself when it stops, or another whose messages have all been returned. Its slots
-- are given up. Preceded by slots.lua.
--
-- KEYS[1] heartbeat of the worker   KEYS[2] workers (zset)
-- ARGV[1] worker id                 ARGV[2] its epoch when it stops by itself, '' when it fell silent
-- ARGV[3] what keys of ours begin with
--
-- Returns 1, or 0 when the worker is alive after all.

local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[2] then
  return 0
end
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[1])
slots().vacate(ARGV[3], ARGV[1])
return 1
