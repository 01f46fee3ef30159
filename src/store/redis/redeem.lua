-- ARGV: proof, claim hash, who brings it ('*': anyone; the hash of a browser's cookie; '': a browser without one),
-- for how long after the delivery its own browser may bring it again. Gives the record as it was, with the token.
-- Of a login that belongs to no browser it is kept without the token: who comes first has it.
local r, raw = load()
local first = r and r[SCAN] and r[SCAN][1]
if not first or r[PROOF] ~= ARGV[1] or first[CLAIM] ~= ARGV[2] or (r[SEALED] or '') == '' then
  return { UNKNOWN, '' }
end
local browser, who = browser_of(r), ARGV[3]
local bound = browser and who ~= '*'
local again = bound and r[STATE] == DELIVERED and now < r[CHANGED] + ARGV[4]
if not again and (r[STATE] ~= APPROVED or now >= r[END]) then return { UNKNOWN, '' } end
if bound then
  if who ~= browser then return { NOT_YOURS, '' } end
  return { OK, raw }
end
r[SEALED] = nil
save(r)
return { OK, raw }
