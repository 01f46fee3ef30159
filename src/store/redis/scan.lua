-- ARGV: code hash, answer, collect, ms to live once approved; of the scan as it stands in the record what comes
-- before its code's number, then what comes after it, with the sealed token; the hidden number, if one is asked for
local code, answer = ARGV[1], tonumber(ARGV[2])
local _, user = cmsgpack.unpack_limit(ARGV[5], 1, 2)
local _, claim, _, name, picture, sealed = cmsgpack.unpack_limit(ARGV[6], 5)
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
local scan = { user, code, r[FIRST] + index, claim, answer, name, picture }
r[SCAN] = { scan }
if answer == 0 then
  return { OK, 0, approve(r, sealed, tonumber(ARGV[3])) }
end
if ARGV[7] then
  -- A second code of the same login does not buy more tries.
  scan[HIDDEN], scan[WRONG] = tonumber(ARGV[7]), first and first[WRONG] or 0
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
