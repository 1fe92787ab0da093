-- Moves dead letters back to queues.
--
-- KEYS[1] dead (zset)   KEYS[2] dead messages (hash)   KEYS[3...] lists
-- ARGV    for each: id, list's place in KEYS, envelope
--
-- Returns how many were moved.

local count = 0
for at = 1, #ARGV, 3 do
  if redis.call('HEXISTS', KEYS[2], ARGV[at]) == 1 then
    redis.call('LPUSH', KEYS[tonumber(ARGV[at + 1])], ARGV[at + 2])
    redis.call('HDEL', KEYS[2], ARGV[at])
    redis.call('ZREM', KEYS[1], ARGV[at])
    count = count + 1
  end
end
return count
