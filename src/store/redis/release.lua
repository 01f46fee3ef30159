-- No token could be made: the login as it was. ARGV: code hash, user
local r = load()
local one = r and r[RESERVED] and r[RESERVED][1]
if not one or one[2] ~= ARGV[1] or one[1] ~= ARGV[2] then return 0 end
unreserve(r)
save(r)
return 1
