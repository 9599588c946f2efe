-- Say that a process lives, or leaves when `hold` is 0. Answers "now living".
-- KEYS: processes
-- ARGV: now, hold, id
local hold = tonumber(ARGV[2])
must(KEYS[1], 'ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
if hold > 0 then
  redis.call('ZADD', KEYS[1], string.format('%.0f', now + hold), ARGV[3])
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.ceil(hold / 1000)))
else
  redis.call('ZREM', KEYS[1], ARGV[3])
end
return string.format('%.0f %d', now, redis.call('ZCARD', KEYS[1]))
