-- ARGV: user. The browser has the token, or it could not end it; it has not acknowledged.
local r = load()
local first = r and r[SCAN] and r[SCAN][1]
if not first or first[USER] ~= ARGV[1] or r[STATE] ~= APPROVED then return 0 end
if now >= r[END] + SLACK then return 0 end
finish(r, REVOKED)
return 1
