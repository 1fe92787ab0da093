-- Shared by the scripts that count parts of chords: Celery's keys beside a group's base key.
--
-- .s size   .t parts added later   .j parts (zset by place, as Celery 5.6 has them too; with result_chord_ordered off a
-- list, in the order in which they came)
-- .d members counted and .c claim of who sends the body, or 'done' (both since Celery 5.7)

local function expire_in(key, life)
  if life ~= '' then
    redis.call('PEXPIRE', key, life)
  end
end

local function is_list(parts)
  return redis.call('TYPE', parts).ok == 'list'
end

local function number_of(parts)
  return redis.call(is_list(parts) and 'LLEN' or 'ZCARD', parts)
end

-- The parts in order. Whoever came first decided what keeps them.
local function all_of(parts)
  return redis.call(is_list(parts) and 'LRANGE' or 'ZRANGE', parts, 0, -1)
end

local function add_part(parts, score, part, unordered)
  if is_list(parts) or (unordered and redis.call('EXISTS', parts) == 0) then
    redis.call('RPUSH', parts, part)
  else
    redis.call('ZADD', parts, score, part)
  end
end

-- True if a part would be the last one.
local function would_complete(base, id, score)
  local size = redis.call('GET', base .. '.s')
  if not size or redis.call('GET', base .. '.c') == 'done' then
    return false
  end
  local extra = redis.call('GET', base .. '.t') or 0
  local new = 1 - redis.call('SISMEMBER', base .. '.d', id .. ':' .. score)
  return number_of(base .. '.j') + new == tonumber(size) + tonumber(extra)
end

-- Counts a part. Returns true if it was the last and, with `claim`, if nobody was told so before.
local function count_part(base, id, score, part, life, unordered, claim)
  if redis.call('GET', base .. '.c') == 'done' then
    return false
  end
  if redis.call('SADD', base .. '.d', id .. ':' .. score) == 1 then
    add_part(base .. '.j', score, part, unordered)
  end
  for _, suffix in ipairs({'.d', '.j', '.s', '.t'}) do
    expire_in(base .. suffix, life)
  end
  local size = redis.call('GET', base .. '.s')
  local extra = redis.call('GET', base .. '.t') or 0
  if not size or number_of(base .. '.j') ~= tonumber(size) + tonumber(extra) then
    return false
  end
  if claim then
    -- A worker of Celery's that claims it sends the body itself.
    if not redis.call('SET', base .. '.c', 'done', 'NX') then
      return false
    end
    expire_in(base .. '.c', life)
    -- Celery 5.6 knows no claims: a late copy of a member must not find the chord complete.
    redis.call('DEL', base .. '.s')
  end
  return true
end

-- The members as the text of a JSON list of result tuples, or '' where the parts do not tell.
local function members(base)
  local saved = redis.pcall('GET', base)
  if type(saved) == 'string' then
    -- Members that bring several results were saved by whoever began the chord.
    local tuples = string.match(saved, '^{"result": %[%["[^"]*", null%], (.*)%]}$')
    if tuples then
      return tuples
    end
  end
  local tuples = {}
  for i, part in ipairs(all_of(base .. '.j')) do
    local id = string.match(part, '^%[1, ("[^"\\]*"), ')
    if not id then
      return ''
    end
    tuples[i] = '[[' .. id .. ', null], null]'
  end
  return '[' .. table.concat(tuples, ', ') .. ']'
end

local function end_chord(base)
  redis.call('DEL', base .. '.j', base .. '.t', base .. '.s', base .. '.d')
end
