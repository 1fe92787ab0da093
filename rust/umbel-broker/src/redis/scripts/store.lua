-- Writes result records and tells listeners. A stored SUCCESS is final. Preceded by final.lua.
--
-- KEYS    keys of the records
-- ARGV    for each: life in ms or '', what is known of the stored record (see final.lua), the record
--
-- Returns for each: 1 written, 0 a SUCCESS is there, 2 what is there must be read first (then nothing was written).

local reply = {}
for i, key in ipairs(KEYS) do
  local at = 3 * i - 2
  local decision = verdict(key, ARGV[at + 1])
  if decision == 'write' then
    store(key, ARGV[at], ARGV[at + 2])
    reply[i] = 1
  else
    reply[i] = decision == 'keep' and 0 or 2
  end
end
return reply
