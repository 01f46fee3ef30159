-- ARGV: the record to make if there is none, its epoch
local r, raw = load()
if not r then return save(cmsgpack.unpack(ARGV[1])) end
if r[EPOCH] >= tonumber(ARGV[2]) then return raw end
r[EPOCH] = tonumber(ARGV[2])
return save(r)
