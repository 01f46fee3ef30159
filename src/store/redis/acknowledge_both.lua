-- An acknowledgement in one step, where the record and its user's entry are at one server: what
-- enter.lua, acknowledge.lua, revoke_pending.lua and revoke_current.lua do one after the other where
-- they are not. KEYS[2]: the user's entry. ARGV: epoch, entry, since when, seconds to live, user
local epoch, since = tonumber(ARGV[1]), tonumber(ARGV[3])
local r = load()
local raw = redis.call('GET', KEYS[2])
local entry = raw and cmsgpack.unpack(raw)
if entry and entry[1] == '' and since <= entry[2] then
  if is_pending(r, ARGV[5]) then finish(r, REVOKED) end
  return OVER
end
local state = r and r[STATE]
local superseded = r and epoch < r[EPOCH] and not by_ticket(r, epoch)
-- A log-out that came before the acknowledgement stands, and so does what this would have replaced;
-- not what an older owner's acknowledgement has entered.
if r and not superseded and state ~= APPROVED and state ~= DELIVERED then
  if entry and entry[1] == cmsgpack.unpack(ARGV[2])[1] then redis.call('DEL', KEYS[2]) end
  return OVER
end
redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[4])
if not r then return GONE end
if superseded then return SUPERSEDED end
if state == APPROVED then
  r[EPOCH] = math.max(epoch, r[EPOCH])
  finish(r, DELIVERED, epoch == 0 and browser_of(r))
end
return OK
