-- In front of acknowledge_both.lua's prelude, as every login goes through it: the acknowledgement of an approved
-- login by its owner, whom no end of the user's web logins has overtaken. As in scan_waiting.lua, what stays is
-- cut out of the record and what changes is put in; whatever is not as usual goes on below.
local raw = redis.call('GET', KEYS[1])
-- Fourteen fields: approved, and kept for nobody.
if raw and string.byte(raw) == 158 then
  local at, state, epoch = cmsgpack.unpack_limit(raw, 6, 1)
  local entry = redis.call('GET', KEYS[2])
  local _, id, ended
  if entry then _, id, ended = cmsgpack.unpack_limit(entry, 2, 1) end
  if at == 31 and state == APPROVED and epoch == tonumber(ARGV[1])
    and (id ~= '' or tonumber(ARGV[3]) > ended) then
    -- Up to the codes; behind them, and behind the facts; behind the scan of seven fields or nine.
    local codes = cmsgpack.unpack_limit(raw, 4, 31)
    local facts = cmsgpack.unpack_limit(raw, 1, codes)
    local scan = cmsgpack.unpack_limit(raw, 3, facts + 1)
    local sealed = cmsgpack.unpack_limit(raw, string.byte(raw, scan + 2) - 144, scan + 2)
    local delivered = '\157\3' .. string.sub(raw, 3, 13)
      .. struct.pack('>BI8BI8', 207, now, 207, now + RECEIPT)
      .. string.sub(raw, 32, codes) .. '\160\147\160\160\160' .. string.sub(raw, scan + 1, sealed)
    redis.call('SET', KEYS[1], delivered, 'PX', RECEIPT / 1000)
    redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[4])
    return 0
  end
end

