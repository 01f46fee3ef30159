-- ARGV: jti[, the entry that it had replaced, for how long]. A newer one stays.
local raw = redis.call('GET', KEYS[1])
if not raw or cmsgpack.unpack(raw)[1] ~= ARGV[1] then return 0 end
if ARGV[2] then redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
else redis.call('DEL', KEYS[1]) end
return 1
