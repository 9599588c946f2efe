-- Count what was admitted while this server was away, and free slots.
-- KEYS: counts, slots
-- ARGV: now, since, requests, entries of the minute, entries of the day, then for each entry its
--       slot and tokens, then ids
-- `requests` are microseconds to add, counted within the last `since` microseconds: a part of them
-- has passed already. Tokens below zero are given back.
local since, requests_more = tonumber(ARGV[2]), tonumber(ARGV[3])
local minute_entries, day_entries = tonumber(ARGV[4]), tonumber(ARGV[5])
local requests, minute, _, day, _ = load(KEYS[1])
if requests_more > 0 then
  requests = math.max(requests, now - since) + requests_more
end

-- Merge into a window by slots, in their order.
local function merge(window, slot, from, count)
  local amounts, slots = {}, {}
  local function put(at, amount)
    if not amounts[at] then
      amounts[at] = 0
      slots[#slots + 1] = at
    end
    amounts[at] = amounts[at] + amount
  end
  for index = 1, #window, 2 do
    put(window[index], window[index + 1])
  end
  for index = from, from + 2 * (count - 1), 2 do
    put(tonumber(ARGV[index]), tonumber(ARGV[index + 1]))
  end
  table.sort(slots)
  local merged = {}
  for _, at in ipairs(slots) do
    merged[#merged + 1] = at
    merged[#merged + 1] = amounts[at]
  end
  return (live(merged, slot))
end

minute = merge(minute, minute_slot, 6, minute_entries)
day = merge(day, day_slot, 6 + 2 * minute_entries, day_entries)
keep(KEYS[1], requests, minute, day)
for index = 6 + 2 * (minute_entries + day_entries), #ARGV do
  must(KEYS[2], 'ZREM', KEYS[2], ARGV[index])
end
return 'OK'
