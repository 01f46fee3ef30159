-- ARGV: epoch. Once a ticket was redeemed (nothing is sealed any more), the socket's owner has no
-- say in it.
local epoch = tonumber(ARGV[1])
local r = load()
if not r then return GONE end
local redeemed = r[STATE] == APPROVED and (r[SEALED] or '') == ''
if epoch < r[EPOCH] and not redeemed then return SUPERSEDED end
if r[STATE] == DELIVERED then return OK end
if r[STATE] ~= APPROVED then return OVER end
r[EPOCH] = math.max(epoch, r[EPOCH])
finish(r, DELIVERED)
return OK
