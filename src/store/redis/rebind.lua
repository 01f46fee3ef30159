-- The browser that holds the login has another cookie than it began with. ARGV: proof, the hash of that cookie
local r = load()
if not r or r[STATE] ~= WAITING or now >= r[END] or r[PROOF] ~= ARGV[1] or not browser_of(r) then return 0 end
r[HASHES] = string.sub(r[HASHES], 1, -17) .. ARGV[2]
save(r)
return 1
