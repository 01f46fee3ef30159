-- ARGV: epoch
local epoch = tonumber(ARGV[1])
local r = load()
if not r then return GONE end
if epoch < r[EPOCH] then return SUPERSEDED end
if r[STATE] == DELIVERED then return OK end
if r[STATE] ~= APPROVED then return OVER end
r[EPOCH] = epoch
finish(r, DELIVERED)
return OK
