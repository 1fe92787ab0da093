-- Counts a part of a chord whose messages are elsewhere. Preceded by chords.lua.
--
-- KEYS[1] base key of the chord
-- ARGV    member's id, its place or '+inf', the part, life in ms or '', '1' if a new chord keeps its parts as they come
--
-- Returns the members' tuples if the chord is complete, else nil.

if count_part(KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5] == '1', false) then
  return members(KEYS[1])
end
return false
