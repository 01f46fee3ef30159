-- The queue of what the webhook is to be told (src/store/outbox.rs). Alone in its file: its key is
-- no record, so the prelude's functions are not for it; times are in milliseconds, as a score holds.
-- ARGV: member, after, most, life of the queue
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) then
  return 2
end
local time = redis.call('TIME')
local due = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[2]
local added = redis.call('ZADD', KEYS[1], due, ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return added
