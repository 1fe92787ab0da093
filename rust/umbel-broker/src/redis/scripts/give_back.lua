-- Puts held messages back into their queues, each only if it is still held as the caller saw it.
--
-- KEYS[1] unacked (hash)   KEYS[2] unacked_index (zset)   KEYS[3] heartbeat of the holder
-- KEYS[4...] lists
-- ARGV[1] condition: 'silent' (the holder's heartbeat is gone), 'before' (recorded not after ARGV[2]), 'always'
-- ARGV[2] for 'before' the latest score
-- then for each message: tag, list's place in KEYS or '' to drop a record without message, envelope
--
-- Returns how many messages were put back.

if ARGV[1] == 'silent' and redis.call('EXISTS', KEYS[3]) == 1 then
  return 0
end
local count = 0
for at = 3, #ARGV, 3 do
  local tag = ARGV[at]
  local holds = ARGV[1] ~= 'before'
  if not holds then
    local score = redis.call('ZSCORE', KEYS[2], tag)
    holds = score and tonumber(score) <= tonumber(ARGV[2])
  end
  if holds and ARGV[at + 1] == '' then
    if redis.call('HEXISTS', KEYS[1], tag) == 0 then
      redis.call('ZREM', KEYS[2], tag)
    end
  elseif holds and redis.call('HEXISTS', KEYS[1], tag) == 1 then
    if count == 0 then
      redis.call('HDEL', KEYS[1], '') -- see fetch.lua: lets the pushes through a full server
    end
    redis.call('RPUSH', KEYS[tonumber(ARGV[at + 1])], ARGV[at + 2])
    redis.call('HDEL', KEYS[1], tag)
    redis.call('ZREM', KEYS[2], tag)
    count = count + 1
  end
end
return count
