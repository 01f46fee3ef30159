-- What is remembered of a user (login/standing.rs). ARGV: an address's hash; '' for a wrong number
local PLACES, FAILED, SINCE, LOCKED = 1, 2, 3, 4
local place = ARGV[1]
local raw = redis.call('GET', KEYS[1])
local s = raw and cmsgpack.unpack(raw) or { {}, 0, 0, 0 }
if place == '' then
  if s[FAILED] == 0 or now - s[SINCE] >= FAILED_MATCH_WINDOW then s[FAILED], s[SINCE] = 0, now end
  s[FAILED] = s[FAILED] + 1
  if s[FAILED] >= MAX_FAILED_MATCHES then s[FAILED], s[LOCKED] = 0, now + LOCK end
else
  local kept = { { place, now } }
  for _, old in ipairs(s[PLACES]) do
    if old[1] ~= place and now - old[2] < PLACE_LIFE and #kept < MAX_PLACES then
      kept[#kept + 1] = old
    end
  end
  s[PLACES] = kept
end
local life = #s[PLACES] > 0 and PLACE_LIFE or FAILED_MATCH_WINDOW
redis.call('SET', KEYS[1], cmsgpack.pack(s), 'PX', life / 1000)
