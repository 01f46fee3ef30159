-- A token is made elsewhere: the login is kept for its user meanwhile. The checks are those of
-- scan.lua. ARGV: code hash, user, lease; answers what the phone was told where it repeats a scan
local code, user = ARGV[1], ARGV[2]
local r = load()
if not r then return { UNKNOWN, 0 } end
local first = r[SCAN] and r[SCAN][1]
if first and first[USER] == user and first[CODE] == code then
  if first[HIDDEN] and r[PROTOCOL] == 0 then return { CANNOT_MATCH, 0 } end
  return { REPEATED, first[ANSWER] }
end
local index = code_index(r, code)
if r[STATE] > APPROVED or now >= r[END] or not index then return { UNKNOWN, 0 } end
if first and (first[USER] ~= user or r[STATE] == APPROVED) then return { CONFLICT, 0 } end
if kept_from(r, user) then return { CONFLICT, 0 } end
if not is_open(r, index, user, code) then return { UNKNOWN, 0 } end
-- No position before the last may be absent: the record would be no array any more.
r[SCAN], r[SEALED] = r[SCAN] or {}, r[SEALED] or ''
r[RESERVED] = { { user, code, now + ARGV[3] } }
save(r)
return { OK, 0 }
