-- Correct what was counted, and free slots.
-- KEYS: counts, slots
-- ARGV: now, since, requests, minute, day, ids…
-- `requests`, `minute` and `day` are microseconds to add, below zero to give back. They were
-- counted within the last `since` microseconds: what was used then has partly flowed back already.
local since = tonumber(ARGV[2])
local requests, minute, day = moments(KEYS[1])

local function moved(moment, delta)
  if delta == 0 then
    return moment
  end
  return math.max(moment, now - since) + delta
end

local requests_delta, minute_delta = tonumber(ARGV[3]), tonumber(ARGV[4])
local day_delta = tonumber(ARGV[5])
if requests_delta ~= 0 or minute_delta ~= 0 or day_delta ~= 0 then
  keep(KEYS[1], moved(requests, requests_delta), moved(minute, minute_delta),
    moved(day, day_delta))
end
for index = 6, #ARGV do
  must(KEYS[2], 'ZREM', KEYS[2], ARGV[index])
end
return 'OK'
