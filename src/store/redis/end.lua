-- ARGV: epoch, 'deadline' | 'left' | 'lost' | 'crowded'
local epoch, because = tonumber(ARGV[1]), ARGV[2]
local r, raw = load()
if not r then return { GONE, '' } end
if epoch < r[EPOCH] then return { SUPERSEDED, raw } end
local state = r[STATE]
if state > APPROVED then return { OVER, raw } end
if state ~= APPROVED and because == 'deadline' and now < r[END] then return { EARLY, raw } end
local one = r[RESERVED] and r[RESERVED][1]
local is_wanted = state == SCANNED or state == WAITING and one and now < one[3]
if because == 'crowded' and is_wanted then return { EARLY, raw } end
-- Taken over once: its former holder may look for it only now, and would make it again.
if state == WAITING and epoch > 1 and because ~= 'deadline' then
  unreserve(r)
  r[EPOCH], r[CHANGED], r[END], r[HASHES], r[FACTS] = epoch, now, now, '', { '', '', '' }
  save(r)
  return { OK, '' }
end
if state == WAITING then
  redis.call('DEL', KEYS[1])
  return { OK, '' }
end
if state == APPROVED and because ~= 'lost' then return { IS_APPROVED, raw } end
r[EPOCH] = epoch
if state == APPROVED then
  finish(r, UNDELIVERED)
  return { ENDED_UNDELIVERED, '' }
end
if because == 'deadline' then finish(r, EXPIRED)
else finish(r, CANCELLED) end
return { OK, '' }
