-- ARGV: the user's entry (record.rs), since when, seconds to live. Gives what stood there. Refused
-- where the user's web logins were ended after that moment.
local raw = redis.call('GET', KEYS[1])
local entry = raw and cmsgpack.unpack(raw)
if entry and entry[1] == '' and tonumber(ARGV[2]) <= entry[2] then return { 0, '' } end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[3])
return { 1, raw or '' }
