-- ARGV: ms to live. What was approved up to now can't become current any more (enter.lua).
local raw = redis.call('GET', KEYS[1])
local id = raw and cmsgpack.unpack(raw)[1] or ''
redis.call('SET', KEYS[1], cmsgpack.pack({ '', now, '' }), 'PX', ARGV[1])
return id
