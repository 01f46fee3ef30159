-- What is due, left to nobody else for a while. ARGV: most, lease, life of the queue
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])
for _, member in ipairs(due) do redis.call('ZADD', KEYS[1], now + ARGV[2], member) end
if #due > 0 then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
return { redis.call('ZCARD', KEYS[1]), due }
