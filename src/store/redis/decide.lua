-- A confirmation or a denial. ARGV: claim hash, user, 'confirm' | 'deny', sealed, collect, number
-- Answers: what, the browser's address (which a confirmation takes from the record), tries left, the
-- record as it was approved
local claim, user, confirm, number = ARGV[1], ARGV[2], ARGV[3] == 'confirm', tonumber(ARGV[6])
local r = load()
local first = r and r[SCAN] and r[SCAN][1]
if not first or first[CLAIM] ~= claim then return { UNKNOWN, '', 0, '' } end
if first[USER] ~= user then return { NOT_YOURS, '', 0, '' } end
local state = r[STATE]
if state == SCANNED and now < r[END] then
  local ip, approved = r[FACTS][1], nil
  if not confirm then
    finish(r, DENIED)
  elseif first[HIDDEN] and first[HIDDEN] ~= number then
    first[WRONG] = first[WRONG] + 1
    local left = math.max(0, MAX_WRONG - first[WRONG])
    if left == 0 then finish(r, DENIED) else save(r) end
    return { WRONG_NUMBER, '', left, '' }
  else
    approved = approve(r, ARGV[4], tonumber(ARGV[5]))
  end
  return { OK, ip, 0, approved or '' }
end
local approved = state == APPROVED or state == DELIVERED or state == UNDELIVERED
  or state == REVOKED
if confirm and approved or not confirm and state == DENIED then return { REPEATED, '', 0, '' } end
if approved then return { CONFLICT, '', 0, '' } end
return { UNKNOWN, '', 0, '' }
