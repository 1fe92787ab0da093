-- Takes a lock and publishes a message in one step.
--
-- KEYS[1] lock   KEYS[2...] lists
-- ARGV[1] owner   ARGV[2] life of the lock in ms   ARGV[3] '1' to take it from another   ARGV[4] envelope
--
-- Returns {'published', former owner or ''}, or {'refused', owner}. An owner that has the lock has published before.

local owner = redis.call('GET', KEYS[1])
if owner == ARGV[1] then
  return {'published', ''}
end
if owner and ARGV[3] ~= '1' then
  return {'refused', owner}
end
for at = 2, #KEYS do
  redis.call('LPUSH', KEYS[at], ARGV[4])
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return {'published', owner or ''}
