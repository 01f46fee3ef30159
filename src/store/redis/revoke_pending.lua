-- ARGV: user
local r = load()
if not is_pending(r, ARGV[1]) then return 0 end
finish(r, REVOKED)
return 1
