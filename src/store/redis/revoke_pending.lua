-- ARGV: user. The browser has the token, or it could not end it: delivered, and now over.
local r = load()
local first = r and r[SCAN] and r[SCAN][1]
if not first or first[USER] ~= ARGV[1] or r[STATE] ~= APPROVED then return 0 end
if now >= r[END] + SLACK then return 0 end
finish(r, DELIVERED)
return 1
