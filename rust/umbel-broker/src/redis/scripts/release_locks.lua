-- Gives up locks.
--
-- KEYS    locks
-- ARGV    the owner each must have
--
-- Returns how many were given up.

local count = 0
for at = 1, #KEYS do
  if redis.call('GET', KEYS[at]) == ARGV[at] then
    count = count + redis.call('DEL', KEYS[at])
  end
end
return count
