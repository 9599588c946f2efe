-- Count what a request used instead of what it was charged, and free its slots.
-- KEYS: for each scope counts, slots
-- ARGV: now, id, the time at which it was charged, and for each scope tokens to add (below zero to
--       give back) in the minute, and in the day
local charged = tonumber(ARGV[3])
for number = 1, #KEYS / 2 do
  local key, slots_key = KEYS[2 * number - 1], KEYS[2 * number]
  local minute_more, day_more = tonumber(ARGV[2 * number + 2]), tonumber(ARGV[2 * number + 3])
  if minute_more ~= 0 or day_more ~= 0 then
    local requests, minute, _, day, _ = load(key)
    correct(minute, math.floor(charged / MINUTE_SLOT), minute_slot, minute_more)
    correct(day, math.floor(charged / DAY_SLOT), day_slot, day_more)
    keep(key, requests, minute, day)
  end
  must(slots_key, 'ZREM', slots_key, ARGV[2])
end
return 'OK'
