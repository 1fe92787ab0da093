-- The parts of a chord, in order. Preceded by chords.lua.
--
-- KEYS[1] base key of the chord

return all_of(KEYS[1] .. '.j')
