-- ARGV: proof, claim hash. Gives the record as it was, and keeps it without the token.
local r, raw = load()
if not r or r[STATE] ~= APPROVED or now >= r[END] or (r[SEALED] or '') == '' then return false end
if r[PROOF] ~= ARGV[1] or r[SCAN][1][CLAIM] ~= ARGV[2] then return false end
r[SEALED] = nil
save(r)
return raw
