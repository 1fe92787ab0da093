-- Ends deliveries: each with its results and follow-up messages, or not at all. Preceded by final.lua.
--
-- KEYS[1] unacked (hash)    KEYS[2] unacked_index (zset)
-- KEYS[3] delayed (zset)    KEYS[4] delayed messages (hash)
-- KEYS[5] dead (zset)       KEYS[6] dead messages (hash)
-- KEYS[7...] lists to publish to and keys of results, in any order
-- ARGV[1] database of the results, '' for this one
-- ARGV[2] this database
-- then for each settlement
--   tag, '' for none
--   what becomes of the message, one of
--     'ack'
--     'front', list's place in KEYS, envelope
--     'back',  list's place in KEYS, envelope
--     'delay', due time, id, envelope
--     'dead',  id, record
--   number of results, then for each: key's place in KEYS, life in ms or '', what is known of it (final.lua), record
--   number of messages, then for each, one of
--     'list',  list's place in KEYS, envelope
--     'delay', due time, id, envelope
--
-- Returns for each settlement: 1 done, 0 the tag was not held (results written, nothing published), or the string
-- 'ask' when a stored result must be read first (then nothing of this settlement was done).

local unacked, index = KEYS[1], KEYS[2]
local results_db, own_db = ARGV[1], ARGV[2]
local clock = redis.call('TIME')
local now = clock[1] .. '.' .. string.format('%06d', clock[2])
local at = 3
local has_written = false

local function next_argument()
  local argument = ARGV[at]
  at = at + 1
  return argument
end

local function in_results_db(work)
  if results_db == '' then
    return work()
  end
  redis.call('SELECT', results_db)
  local outcome = work()
  redis.call('SELECT', own_db)
  return outcome
end

local function read_results()
  local results = {}
  for i = 1, tonumber(next_argument()) do
    results[i] = {key = KEYS[tonumber(next_argument())], life = next_argument(), known = next_argument(), record = next_argument()}
  end
  return results
end

local function judge(results)
  return in_results_db(function()
    for _, result in ipairs(results) do
      result.verdict = verdict(result.key, result.known)
      if result.verdict == 'ask' then
        return false
      end
    end
    return true
  end)
end

local function store_all(results)
  in_results_db(function()
    for _, result in ipairs(results) do
      if result.verdict == 'write' then
        store(result.key, result.life, result.record)
      end
    end
  end)
end

-- One message's way: where it goes and what with. Reads its arguments now, acts when called.
local function read_move()
  local kind = next_argument()
  if kind == 'ack' then
    return nil
  elseif kind == 'delay' then
    local due, id, envelope = next_argument(), next_argument(), next_argument()
    return function()
      redis.call('HSET', KEYS[4], id, envelope)
      redis.call('ZADD', KEYS[3], due, id)
    end
  elseif kind == 'dead' then
    local id, record = next_argument(), next_argument()
    return function()
      redis.call('HSET', KEYS[6], id, record)
      redis.call('ZADD', KEYS[5], now, id)
    end
  end
  local list, envelope = KEYS[tonumber(next_argument())], next_argument()
  local push = kind == 'front' and 'RPUSH' or 'LPUSH'
  return function()
    redis.call(push, list, envelope)
  end
end

local function settle(tag, move, results, messages)
  local decided = #results == 0 or judge(results)
  if not decided then
    return 'ask'
  end
  if tag ~= '' and not has_written then
    -- See fetch.lua: a server over its memory limit must not refuse what frees memory.
    redis.call('HDEL', unacked, '')
    has_written = true
  end
  -- The record is removed last, so that an error on the way leaves the message held.
  local held = tag == '' or redis.call('HEXISTS', unacked, tag) == 1
  if #results > 0 then
    store_all(results)
  end
  if not held then
    return 0
  end
  for _, publish in ipairs(messages) do
    publish()
  end
  if tag ~= '' then
    if move then
      move()
    end
    redis.call('HDEL', unacked, tag)
    redis.call('ZREM', index, tag)
  end
  return 1
end

local reply = {}
while at <= #ARGV do
  local tag = next_argument()
  local move = read_move()
  local results = read_results()
  local messages = {}
  for i = 1, tonumber(next_argument()) do
    messages[i] = read_move()
  end
  reply[#reply + 1] = settle(tag, move, results, messages)
end
return reply
