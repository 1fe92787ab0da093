-- Shared beginning of the scripts that store results: is the stored record a SUCCESS?
--
-- verdict(key, known) returns 'write', 'keep' or 'ask'. A JSON record begins with its status, so the first bytes tell.
-- 'ask' is for other forms (msgpack, pickle, compressed): the caller reads the record and calls again with
-- `known` = 'keep' or 'write', a space, and the text it read.

local function verdict(key, known)
  local head = redis.pcall('GETRANGE', key, 0, 63)
  if type(head) ~= 'string' or head == '' then
    return 'write' -- nothing there, or no string: SET replaces it
  end
  local state = string.match(head, '^{"status": "([^"]*)"')
  if state then
    return state == 'SUCCESS' and 'keep' or 'write'
  end
  local decision, seen = string.match(known, '^(%l+) (.*)$')
  if decision and redis.call('GET', key) == seen then
    return decision
  end
  return 'ask'
end

local function store(key, milliseconds, record)
  if milliseconds == '' then
    redis.call('SET', key, record)
  else
    redis.call('SET', key, record, 'PX', milliseconds)
  end
  redis.call('PUBLISH', key, record)
end
