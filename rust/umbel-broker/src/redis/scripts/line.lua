-- Publishes a message that stands in a line. Preceded by slots.lua and lines.lua.
--
-- KEYS[1] list
-- ARGV    what keys of ours begin with, name of the line, its window, latest time, id and envelope of the message
--
-- Returns 1.

lines().stand(KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6])
return 1
