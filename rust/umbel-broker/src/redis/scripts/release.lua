-- Moves due messages from the delayed set to their queues.
--
-- KEYS[1] delayed (zset)   KEYS[2] delayed messages (hash)   KEYS[3...] lists
-- ARGV    for each: id, list's place in KEYS
--
-- Returns how many were moved; others had been moved by somebody else.

local count = 0
for at = 1, #ARGV, 2 do
  local id = ARGV[at]
  local envelope = redis.call('HGET', KEYS[2], id)
  if envelope then
    if count == 0 then
      redis.call('HDEL', KEYS[2], '') -- see fetch.lua: lets the pushes through a full server
    end
    redis.call('LPUSH', KEYS[tonumber(ARGV[at + 1])], envelope)
    redis.call('HDEL', KEYS[2], id)
    count = count + 1
  end
  redis.call('ZREM', KEYS[1], id)
end
return count
