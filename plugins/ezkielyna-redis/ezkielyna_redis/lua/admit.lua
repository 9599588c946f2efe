-- Count one request against all its limits, or against none.
-- KEYS: for each scope counts, slots
-- ARGV: now, hold, for each scope interval, burst (microseconds), tokens a minute, tokens a day,
--       slots, 0 being no limit; then id, tokens
-- Answers whole numbers of eight bytes, which are read ten times as quickly as their digits: granted,
-- now, wait, limit, the limit that is to be waited for longest being 4 * scope + 0 requests, 1 the
-- minute, 2 the day, 3 slots; then for each scope requests, minute, last, day, last, running: the
-- moment at which requests are whole again, tokens used in the minute and the slot in which they were
-- used last, so for the day, and how many slots are taken, where they are limited.
local hold, id, tokens = tonumber(ARGV[2]), ARGV[#ARGV - 1], tonumber(ARGV[#ARGV])
local scopes, wait, limit = {}, 0, 0

local function needs(longer, which)
  if longer > wait then
    wait, limit = longer, which
  end
end

-- When a window has room. An empty one takes a request of any size: else the largest would wait
-- for ever.
local function room(window, used, most, width)
  local free = math.max(0, most - tokens)
  local at = now
  for index = 1, #window, 2 do
    if used <= free then
      break
    end
    used = used - window[index + 1]
    at = (window[index] + SLOTS + 1) * width
  end
  return at - now
end

for number = 1, #KEYS / 2 do
  local first = 5 * number - 3
  local scope = {
    key = KEYS[2 * number - 1], slots_key = KEYS[2 * number],
    interval = tonumber(ARGV[first + 1]), burst = tonumber(ARGV[first + 2]),
    tpm = tonumber(ARGV[first + 3]), tpd = tonumber(ARGV[first + 4]),
    slots = tonumber(ARGV[first + 5]), running = 0,
  }
  scopes[number] = scope
  local base = 4 * (number - 1)
  scope.requests, scope.minute, scope.minute_used, scope.day, scope.day_used = load(scope.key)
  if scope.interval > 0 then
    -- Further ahead no request can bring it: a clock went back, or the limits have changed.
    local furthest = now + scope.burst + scope.interval
    if scope.requests > furthest then
      scope.requests = furthest
      keep(scope.key, furthest, scope.minute, scope.day)
    end
    needs(scope.requests - now - scope.burst, base)
  end
  if scope.tpm > 0 and scope.minute_used > 0 then
    needs(room(scope.minute, scope.minute_used, scope.tpm, MINUTE_SLOT), base + 1)
  end
  if scope.tpd > 0 and scope.day_used > 0 then
    needs(room(scope.day, scope.day_used, scope.tpd, DAY_SLOT), base + 2)
  end
  if scope.slots > 0 then
    must(scope.slots_key, 'ZREMRANGEBYSCORE', scope.slots_key, '-inf', string.format('%.0f', now))
    scope.running = redis.call('ZCARD', scope.slots_key)
    if scope.running >= scope.slots then
      needs(1000000, base + 3)
    end
  end
end

local answer = {wait > 0 and 0 or 1, now, wait, limit}
for number, scope in ipairs(scopes) do
  if wait == 0 then
    if scope.interval > 0 then
      scope.requests = math.max(scope.requests, now) + scope.interval
    end
    if scope.tpm > 0 and tokens > 0 then
      add(scope.minute, minute_slot, tokens)
      scope.minute_used = scope.minute_used + tokens
    end
    if scope.tpd > 0 and tokens > 0 then
      add(scope.day, day_slot, tokens)
      scope.day_used = scope.day_used + tokens
    end
    if scope.interval > 0 or tokens > 0 then
      keep(scope.key, scope.requests, scope.minute, scope.day)
    end
    if scope.slots > 0 then
      redis.call('ZADD', scope.slots_key, string.format('%.0f', now + hold), id)
      redis.call('PEXPIRE', scope.slots_key, string.format('%.0f', math.ceil(hold / 1000)))
      scope.running = scope.running + 1
    end
  end
  for _, told in ipairs({
    scope.requests, scope.minute_used, scope.minute[#scope.minute - 1] or 0,
    scope.day_used, scope.day[#scope.day - 1] or 0, scope.running,
  }) do
    answer[#answer + 1] = told
  end
end
return struct.pack('<' .. string.rep('i8', #answer), unpack(answer))
