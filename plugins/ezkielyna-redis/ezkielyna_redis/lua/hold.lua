-- Say that slots are still held, also those that were lost with a flush.
-- KEYS: slots
-- ARGV: now, hold, ids…
local hold = tonumber(ARGV[2])
for index = 3, #ARGV do
  must(KEYS[1], 'ZADD', KEYS[1], string.format('%.0f', now + hold), ARGV[index])
end
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.ceil(hold / 1000)))
return 'OK'
