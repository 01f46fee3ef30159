-- ARGV: proof
local r, raw = load()
if not r then return { GONE, '' } end
if r[PROTOCOL] ~= 1 or r[PROOF] ~= ARGV[1] then return { NOT_YOURS, '' } end
if r[STATE] > APPROVED or now >= r[END] then return { OVER, raw } end
r[EPOCH] = r[EPOCH] + 1
return { OK, save(r) }
