-- Count what a request used instead of what it was charged, and free its slots.
-- KEYS: for each scope counts, slots
-- ARGV: now, for each scope which windows it has, 1 the minute, 2 the day, 3 both; then id, the time
--       at which it was charged, and the tokens to add, below zero to give back
local id, charged, more = ARGV[#ARGV - 2], tonumber(ARGV[#ARGV - 1]), tonumber(ARGV[#ARGV])
for number = 1, #KEYS / 2 do
  local key, slots_key = KEYS[2 * number - 1], KEYS[2 * number]
  local windows = tonumber(ARGV[number + 1])
  if windows > 0 and more ~= 0 then
    local requests, minute, _, day, _ = load(key)
    correct(minute, math.floor(charged / MINUTE_SLOT), minute_slot, windows % 2 * more)
    correct(day, math.floor(charged / DAY_SLOT), day_slot, math.floor(windows / 2) * more)
    keep(key, requests, minute, day)
  end
  must(slots_key, 'ZREM', slots_key, id)
end
return 'OK'
