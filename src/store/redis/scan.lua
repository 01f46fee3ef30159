-- ARGV: code hash, user, claim hash, answer, sealed, collect, name, picture, number
local code, user, claim, answer = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local r, raw = load()
if not r then return { UNKNOWN, 0, '' } end
local open = r[STATE] <= APPROVED and now < r[END]
local first = r[SCAN] and r[SCAN][1]
local plain = r[PROTOCOL] == 0
if first and first[USER] == user and first[CODE] == code then
  if first[HIDDEN] and plain then return { CANNOT_MATCH, 0, '' } end
  return { REPEATED, first[ANSWER], r[STATE] == SCANNED and raw or '' }
end
local index = code_index(r, code)
if not open or not index then return { UNKNOWN, 0, '' } end
if first and (first[USER] ~= user or r[STATE] == APPROVED) then return { CONFLICT, 0, '' } end
if kept_from(r, user) then return { CONFLICT, 0, '' } end
if not is_open(r, index, user, code) then return { UNKNOWN, 0, '' } end
local scan = { user, code, r[FIRST] + index, claim, answer, ARGV[7], ARGV[8] }
r[SCAN] = { scan }
if answer == 0 then
  return { OK, 0, approve(r, ARGV[5], tonumber(ARGV[6])) }
end
if ARGV[9] ~= '' then
  -- A second code of the same login does not buy more tries.
  scan[HIDDEN], scan[WRONG] = tonumber(ARGV[9]), first and first[WRONG] or 0
  if plain then
    scan[NAME], scan[PICTURE] = '', ''
    finish(r, DENIED)
    return { CANNOT_MATCH, 0, '' }
  end
end
-- Nor more time.
if r[STATE] == WAITING then r[END] = now + CONFIRM end
r[STATE], r[CHANGED] = SCANNED, now
r[SEALED], r[RESERVED] = nil, nil
return { OK, 1, save(r) }
