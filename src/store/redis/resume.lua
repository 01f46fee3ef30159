-- ARGV: proof
local r = load()
if not r or r[STATE] > APPROVED or now >= r[END] then return false end
if r[PROTOCOL] ~= 1 or r[PROOF] ~= ARGV[1] then return false end
r[EPOCH] = r[EPOCH] + 1
return save(r)
