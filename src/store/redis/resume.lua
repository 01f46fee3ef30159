-- ARGV: proof
local r = load()
if not r then return { GONE, '' } end
if r[STATE] > APPROVED or now >= r[END] then return { OVER, '' } end
if r[PROTOCOL] ~= 1 or r[PROOF] ~= ARGV[1] then return { OVER, '' } end
r[EPOCH] = r[EPOCH] + 1
return { OK, save(r) }
