-- Ends deliveries: each with its results and follow-up messages, or not at all. Preceded by final.lua,
-- chords.lua, slots.lua and lines.lua.
--
-- KEYS[1] unacked (hash)    KEYS[2] unacked_index (zset)
-- KEYS[3] delayed (zset)    KEYS[4] delayed messages (hash)
-- KEYS[5] dead (zset)       KEYS[6] dead messages (hash)
-- KEYS[7...] keys of results, then lists to publish to
-- ARGV[1] database of the results, '' for this one
-- ARGV[2] this database
-- ARGV[3] number of keys of results
-- ARGV[4] number of settlements
-- ARGV[5] how many of them, the first ones, are acknowledgements and nothing else
-- ARGV[6...] for each settlement its tag, '' for none
-- then for each settlement that is more than an acknowledgement
--   what becomes of the message, one of
--     'ack'
--     'front', list's number, envelope
--     'back',  list's number, envelope
--     'delay', due time, id, envelope
--     'dead',  id, record
--     'enter', what keys of ours begin with, worker id, due time, id, envelope (slots.lua), number of slots, then for each:
--              name, limit
--   number of results, then for each: key's number, life in ms or '', what is known of it (final.lua), record
--   number of messages, then for each, one of
--     'list',  list's number, envelope
--     'line',  list's number, what keys of ours begin with, name of the line, its window, latest time, id, envelope
--     'delay', due time, id, envelope
--     'count', base key of a chord, member's id, its place or '+inf', its part, life in ms or '', '1' if a new chord keeps
--              its parts as they come, number of lists, then for each: list's number, envelope up to the members, the rest
--              of it ('' if they have no place in it)
--     'probe', the same with 0 lists: a part that is not the last one, or else 'ask' is the answer
--     'end',   base key of a chord that is over
--     'unlock', lock, its owner
--     'place', what keys of ours begin with, name of a line, its window; also if the tag was not held
--     'leave', what keys of ours begin with, worker id, tag, name of a slot, its limit; also if the tag was not held
--
-- Returns for each settlement: 1 done, 0 the tag was not held (results written, nothing published), 2 it has entered and is
-- held on, 'ask' when a stored result must be read first, a part of a chord was probed that is the last one, or a message
-- has to wait for a slot whose envelope is not here (then nothing of this settlement was done, but perhaps its results), or
-- an error (likewise, but for messages published before it).

local unacked, index = KEYS[1], KEYS[2]
local results_db, own_db = ARGV[1], ARGV[2]
local before_lists = 6 + tonumber(ARGV[3])
local count, simple = tonumber(ARGV[4]), tonumber(ARGV[5])
local at = 6 + count
local none_stored = false
local written = {}

local function next_argument()
  local argument = ARGV[at]
  at = at + 1
  return argument
end

local function select_db(number)
  if results_db ~= '' then
    redis.call('SELECT', number)
  end
end

-- Results: read, judged all before any is written.

local function read_results()
  local results = {}
  for i = 1, tonumber(next_argument()) do
    results[i] = {
      key = KEYS[6 + tonumber(next_argument())],
      life = next_argument(),
      known = next_argument(),
      record = next_argument(),
    }
  end
  return results
end

local function judge(key, known)
  return none_stored and not written[key] and 'write' or verdict(key, known)
end

local function can_judge(results)
  local decided = true
  for _, result in ipairs(results) do
    result.verdict = judge(result.key, result.known)
    decided = decided and result.verdict ~= 'ask'
  end
  return decided
end

local function store_all(results)
  for _, result in ipairs(results) do
    if result.verdict == 'write' then
      store(result.key, result.life, result.record)
      written[result.key] = true
    end
  end
end

-- Messages on their way: read now, carried out when it is sure that they go.

local function read_move()
  local kind = next_argument()
  if kind == 'ack' then
    return nil
  elseif kind == 'delay' then
    return {kind, next_argument(), next_argument(), next_argument()}
  elseif kind == 'end' then
    return {kind, next_argument()}
  elseif kind == 'unlock' then
    return {kind, next_argument(), next_argument()}
  elseif kind == 'place' then
    return {kind, next_argument(), next_argument(), next_argument()}
  elseif kind == 'line' then
    return {kind, next_argument(), next_argument(), next_argument(), next_argument(), next_argument(), next_argument(),
      next_argument()}
  elseif kind == 'leave' then
    return {kind, next_argument(), next_argument(), next_argument(), next_argument(), next_argument()}
  elseif kind == 'enter' then
    local wish = {kind, next_argument(), next_argument(), next_argument(), next_argument(), next_argument()}
    for _ = 1, 2 * tonumber(next_argument()) do
      wish[#wish + 1] = next_argument()
    end
    return wish
  elseif kind == 'count' or kind == 'probe' then
    local message = {kind}
    for place = 2, 7 do
      message[place] = next_argument()
    end
    for copy = 1, tonumber(next_argument()) do
      message[7 + copy] = {next_argument(), next_argument(), next_argument()}
    end
    return message
  end
  return {kind, next_argument(), next_argument()}
end

-- Text inside a JSON string.
local function quoted(text)
  return (string.gsub(string.gsub(text, '\\', '\\\\'), '"', '\\"'))
end

local function count_member(message)
  select_db(results_db)
  local base, found = message[2], nil
  if count_part(base, message[3], message[4], message[5], message[6], message[7] == '1', true) then
    found = members(base)
    found = quoted(found == '' and '"umbel:chord-members"' or found)
  end
  select_db(own_db)
  if not found then
    return
  end
  for copy = 8, #message do
    local list, head, tail = unpack(message[copy])
    redis.call('LPUSH', KEYS[before_lists + tonumber(list)], tail == '' and head or head .. found .. tail)
  end
end

local function is_last(message)
  select_db(results_db)
  local last = would_complete(message[2], message[3], message[4])
  select_db(own_db)
  return last
end

local function move(message)
  local kind = message[1]
  if kind == 'count' or kind == 'probe' then
    count_member(message)
  elseif kind == 'end' then
    select_db(results_db)
    end_chord(message[2])
    select_db(own_db)
  elseif kind == 'delay' then
    redis.call('HSET', KEYS[4], message[3], message[4])
    redis.call('ZADD', KEYS[3], message[2], message[3])
  elseif kind == 'unlock' then
    if redis.call('GET', message[2]) == message[3] then
      redis.call('DEL', message[2])
    end
  elseif kind == 'place' then
    lines().give_up(message[2], message[3], message[4])
  elseif kind == 'line' then
    local list = KEYS[before_lists + tonumber(message[2])]
    lines().stand(list, message[3], message[4], message[5], message[6], message[7], message[8])
  elseif kind == 'leave' then
    slots().give_up(unacked, message[2], message[3], message[4], message[5], message[6])
  elseif kind == 'dead' then
    local clock = redis.call('TIME')
    redis.call('HSET', KEYS[6], message[2], message[3])
    redis.call('ZADD', KEYS[5], clock[1] .. '.' .. string.format('%06d', clock[2]), message[2])
  else
    redis.call(kind == 'front' and 'RPUSH' or 'LPUSH', KEYS[before_lists + tonumber(message[2])], message[3])
  end
end

local function is_held(tag)
  return redis.call('HEXISTS', unacked, tag) == 1
end

-- The common case without the tables: an acknowledgement with one result.
local function settle_with_result(key, life, known, record)
  select_db(results_db)
  local decision = judge(key, known)
  if decision == 'write' then
    store(key, life, record)
    written[key] = true
  end
  select_db(own_db)
  return decision == 'ask' and decision or 1
end

local function settle(tag, disposition, results, messages)
  if #results > 0 then
    select_db(results_db)
    local decided = can_judge(results)
    if decided then
      store_all(results)
    end
    select_db(own_db)
    if not decided then
      return 'ask'
    end
  end
  -- Where nothing moves it can be seen at the end whether the tag was held.
  if tag ~= '' and (disposition or #messages > 0) and not is_held(tag) then
    for _, message in ipairs(messages) do
      if message[1] == 'leave' or message[1] == 'place' then
        move(message)
      end
    end
    return 0
  end
  if disposition and disposition[1] == 'enter' then
    return slots().enter(unacked, tag, disposition)
  end
  for _, message in ipairs(messages) do
    if message[1] == 'probe' and is_last(message) then
      return 'ask'
    end
  end
  for _, message in ipairs(messages) do
    move(message)
  end
  if tag ~= '' and disposition then
    move(disposition)
  end
  return 1
end

if simple < count then
  -- See fetch.lua: a server over its memory limit must not refuse what frees memory.
  for i = 6, 5 + count do
    if ARGV[i] ~= '' then
      redis.call('HDEL', unacked, '')
      break
    end
  end
  if before_lists > 6 then
    select_db(results_db)
    none_stored = redis.call('EXISTS', unpack(KEYS, 7, before_lists)) == 0
    select_db(own_db)
  end
end

local function read_rest()
  local disposition, results, messages = read_move(), read_results(), {}
  for number = 1, tonumber(next_argument()) do
    messages[number] = read_move()
  end
  return disposition, results, messages
end

local reply, tags, places, seen = {}, {}, {}, {}
for i = 1, count do
  local tag, outcome = ARGV[5 + i], 1
  if i > simple then
    local ok
    if ARGV[at] == 'ack' and ARGV[at + 1] == '1' and ARGV[at + 6] == '0' then
      local key = KEYS[6 + ARGV[at + 2]]
      ok, outcome = pcall(settle_with_result, key, ARGV[at + 3], ARGV[at + 4], ARGV[at + 5])
      at = at + 7
    else
      ok, outcome = pcall(settle, seen[tag] and 'settled before' or tag, read_rest())
    end
    if not ok then
      select_db(own_db)
      outcome = type(outcome) == 'table' and outcome or {err = tostring(outcome)}
    end
  end
  if seen[tag] then
    outcome = outcome == 1 and 0 or outcome
  elseif tag ~= '' and outcome == 1 then
    seen[tag] = true
    tags[#tags + 1] = tag
    places[#places + 1] = i
  end
  reply[i] = outcome
end

-- Records go last, so that an error on the way leaves its message held.
if #tags > 0 then
  if redis.call('HDEL', unacked, unpack(tags)) < #tags then
    -- The index still knows which of them were held.
    for number, score in ipairs(redis.call('ZMSCORE', index, unpack(tags))) do
      if not score then
        reply[places[number]] = 0
      end
    end
  end
  redis.call('ZREM', index, unpack(tags))
end
return reply
