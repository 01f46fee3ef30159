-- ARGV: epoch
local epoch = tonumber(ARGV[1])
local r = load()
if not r then return GONE end
if epoch < r[EPOCH] and not is_redeemed(r) then return SUPERSEDED end
if r[STATE] == DELIVERED then return OK end
if r[STATE] ~= APPROVED then return OVER end
r[EPOCH] = math.max(epoch, r[EPOCH])
finish(r, DELIVERED)
return OK
