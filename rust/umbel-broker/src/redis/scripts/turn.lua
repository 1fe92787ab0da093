-- The next turn under a rate limit; `Lane::turn` in Rust is the same, and says what it means.
--
-- KEYS[1] lane (hash: pause, next, later)
-- ARGV[1] pause   ARGV[2] patience, both in microseconds
--
-- Returns {wait in microseconds, 1 if the turn is granted, else 0}.

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local pause, patience = tonumber(ARGV[1]), tonumber(ARGV[2])
local kept = redis.call('HMGET', KEYS[1], 'pause', 'next', 'later')
local following, later = tonumber(kept[2]), tonumber(kept[3])
if tonumber(kept[1]) ~= pause then
  following, later = now, now
end
local at = math.max(following, now)
local until_then, granted = at, 1
if at - now <= patience then
  following = at + pause
else
  until_then, granted = math.max(later, at), 0
  later = until_then + pause
end
redis.call('HSET', KEYS[1], 'pause', ARGV[1], 'next', string.format('%.0f', following), 'later', string.format('%.0f', later))
redis.call('PEXPIRE', KEYS[1], math.ceil((math.max(following, later) - now) / 1000) + 60000)
return {until_then - now, granted}
