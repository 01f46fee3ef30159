-- ARGV: jti. Only the web login that is meant: a newer one stays.
local raw = redis.call('GET', KEYS[1])
if not raw or cmsgpack.unpack(raw)[1] ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
