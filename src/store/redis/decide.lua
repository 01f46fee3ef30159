-- A confirmation or a denial. ARGV: claim hash, user, 'confirm' | 'deny', sealed, collect
local claim, user, confirm = ARGV[1], ARGV[2], ARGV[3] == 'confirm'
local r = load()
local first = r and r[SCAN] and r[SCAN][1]
if not first or first[CLAIM] ~= claim then return UNKNOWN end
if first[USER] ~= user then return NOT_YOURS end
local state = r[STATE]
if state == SCANNED and now < r[END] then
  if confirm then approve(r, ARGV[4], tonumber(ARGV[5])) else finish(r, DENIED) end
  return OK
end
local approved = state == APPROVED or state == DELIVERED or state == UNDELIVERED
  or state == REVOKED
if confirm and approved or not confirm and state == DENIED then return REPEATED end
if approved then return CONFLICT end
return UNKNOWN
