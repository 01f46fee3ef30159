-- ARGV: epoch
local epoch = tonumber(ARGV[1])
local r = load()
if not r then return GONE end
if epoch < r[EPOCH] and not by_ticket(r, epoch) then return SUPERSEDED end
if r[STATE] == DELIVERED then return OK end
if r[STATE] ~= APPROVED then return OVER end
r[EPOCH] = math.max(epoch, r[EPOCH])
finish(r, DELIVERED, epoch == 0 and browser_of(r))
return OK
