-- Count one request against all limits of an account, or against none.
-- KEYS: counts, slots
-- ARGV: now, id, cost of the minute, cost of the day (-1: no limit), interval (0: no limit),
--       burst, slots (0: no limit), hold
-- All but the id and slots are microseconds. Answers "granted now requests minute day running".
local MINUTE, DAY = 60000000, 86400000000
local minute_cost, day_cost = tonumber(ARGV[3]), tonumber(ARGV[4])
local interval, burst = tonumber(ARGV[5]), tonumber(ARGV[6])
local slots, hold = tonumber(ARGV[7]), tonumber(ARGV[8])
local requests, minute, day = moments(KEYS[1])

-- Further ahead no request can bring it: a clock went back, or the plan has changed.
if interval > 0 and requests > now + burst + interval then
  requests = now + burst + interval
  keep(KEYS[1], requests, minute, day)
end

-- A whole bucket takes a request of any size: else the largest would wait for ever.
local function lacks(moment, cost, period)
  return cost >= 0 and moment > now and moment - now + cost > period
end

local running = 0
if slots > 0 then
  must(KEYS[2], 'ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', now))
  running = redis.call('ZCARD', KEYS[2])
end

local granted = not ((interval > 0 and requests - now > burst)
  or (slots > 0 and running >= slots)
  or lacks(minute, minute_cost, MINUTE)
  or lacks(day, day_cost, DAY))

if granted then
  if interval > 0 then
    requests = math.max(requests, now) + interval
  end
  if minute_cost > 0 then
    minute = math.max(minute, now) + minute_cost
  end
  if day_cost > 0 then
    day = math.max(day, now) + day_cost
  end
  if interval > 0 or minute_cost > 0 or day_cost > 0 then
    keep(KEYS[1], requests, minute, day)
  end
  if slots > 0 then
    redis.call('ZADD', KEYS[2], string.format('%.0f', now + hold), ARGV[2])
    redis.call('PEXPIRE', KEYS[2], string.format('%.0f', math.ceil(hold / 1000)))
    running = running + 1
  end
end

return string.format('%d %.0f %.0f %.0f %.0f %d',
  granted and 1 or 0, now, requests, minute, day, running)
