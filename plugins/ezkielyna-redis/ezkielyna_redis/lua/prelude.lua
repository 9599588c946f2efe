-- What every script begins with. ARGV[1] is the time in microseconds, empty but in tests:
-- the one clock is this server's. A whole number of microseconds fits a double until 2255.
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end

-- A key of a type that is not ours goes: it can hold nothing worth a failure.
local function must(key, ...)
  local found = redis.pcall(...)
  if type(found) == 'table' and found.err then
    redis.call('DEL', key)
    found = redis.call(...)
  end
  return found
end

local function stored(value)
  value = tonumber(value)
  if value and value >= 0 and value < 9007199254740992 then
    return value
  end
  return 0
end

-- The three moments at which an account's requests, minute and day are whole again.
local function moments(key)
  local found = must(key, 'HMGET', key, 'requests', 'minute', 'day')
  return stored(found[1]), stored(found[2]), stored(found[3])
end

-- What is whole need not be remembered: the key expires a second after its last moment.
local function keep(key, requests, minute, day)
  local last = math.max(requests, minute, day)
  if last <= now then
    redis.call('DEL', key)
    return
  end
  redis.call('HSET', key, 'requests', string.format('%.0f', requests),
    'minute', string.format('%.0f', minute), 'day', string.format('%.0f', day))
  redis.call('PEXPIRE', key, string.format('%.0f', math.ceil((last - now) / 1000) + 1000))
end
