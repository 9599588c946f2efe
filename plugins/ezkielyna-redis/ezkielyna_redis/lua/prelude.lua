-- What every script begins with. ARGV[1] is the time in microseconds, empty but in tests:
-- the one clock is this server's. A whole number of microseconds fits a double until 2255.
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end

-- A window is sixty slots and the one that has begun: a second each, or 24 minutes.
local SLOTS, MINUTE_SLOT, DAY_SLOT = 60, 1000000, 1440000000
local minute_slot, day_slot = math.floor(now / MINUTE_SLOT), math.floor(now / DAY_SLOT)

-- A key of a type that is not ours goes: it can hold nothing worth a failure.
local function must(key, ...)
  local found = redis.pcall(...)
  if type(found) == 'table' and found.err then
    redis.call('DEL', key)
    found = redis.call(...)
  end
  return found
end

local function whole(value)
  if type(value) == 'number' and value >= 0 and value < 9007199254740992 then
    return math.floor(value)
  end
  return 0
end

-- What of a window still counts at a slot: slots and amounts by turns, the sum, and whether there
-- were slots to come, which are those of a clock that went back.
local function live(stored, slot)
  local kept, used, moved = {}, 0, false
  if type(stored) == 'table' then
    for index = 1, #stored, 2 do
      local at, amount = whole(stored[index]), whole(stored[index + 1])
      if at > slot then
        at, moved = slot, true
      end
      if at >= slot - SLOTS and amount > 0 then
        kept[#kept + 1] = at
        kept[#kept + 1] = amount
        used = used + amount
      end
    end
  end
  return kept, used, moved
end

-- Use an amount in a slot.
local function add(window, slot, amount)
  local last = #window
  if last > 0 and window[last - 1] >= slot then
    window[last] = window[last] + amount
  else
    window[last + 1] = slot
    window[last + 2] = amount
  end
end

-- Use more, now, or less, of what was used in a slot; what counts no more cannot be given back.
local function correct(window, slot, current, more)
  if more > 0 then
    add(window, current, more)
    return
  end
  for index = 1, #window, 2 do
    if window[index] == slot then
      window[index + 1] = math.max(0, window[index + 1] + more)
    end
  end
end

-- What is whole need not be remembered: a key expires a second after its last moment.
local function keep(key, requests, minute, day)
  local function last(window, width)
    while #window > 0 and window[#window] == 0 do
      window[#window], window[#window - 1] = nil, nil
    end
    return #window > 0 and (window[#window - 1] + SLOTS + 1) * width or 0
  end
  local last = math.max(requests, last(minute, MINUTE_SLOT), last(day, DAY_SLOT))
  if last <= now then
    redis.call('DEL', key)
    return
  end
  redis.call('SET', key, cmsgpack.pack({requests, minute, day}),
    'PX', string.format('%.0f', math.ceil((last - now) / 1000) + 1000))
end

-- What is stored under a key: the moment at which requests are whole again, and the windows of a
-- minute and a day. What a clock that went back left behind is corrected for good.
local function load(key)
  local stored = must(key, 'GET', key)
  local known, state = false, nil
  if stored then
    known, state = pcall(cmsgpack.unpack, stored)
  end
  if not known or type(state) ~= 'table' then
    state = {}
  end
  local requests = whole(state[1])
  local minute, minute_used, minute_moved = live(state[2], minute_slot)
  local day, day_used, day_moved = live(state[3], day_slot)
  if minute_moved or day_moved then
    keep(key, requests, minute, day)
  end
  return requests, minute, minute_used, day, day_used
end
