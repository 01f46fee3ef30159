-- ARGV: record without times, wait
local r = cmsgpack.unpack(ARGV[1])
r[CREATED], r[CHANGED], r[START], r[END] = now, now, now, now + ARGV[2]
save(r)
return string.format('%.0f', now)
