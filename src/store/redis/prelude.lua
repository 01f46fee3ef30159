-- In front of every script, with now.lua: the positions in the record (record.rs), loading and saving.
-- Scripts are the Redis twin of login.rs, and tests/it/conformance.rs holds both to the same rules.
local STATE, EPOCH, PROTOCOL, CREATED, CHANGED, END, PROOF = 1, 2, 3, 4, 5, 6, 7
local START, ROTATE, FIRST, HASHES, FACTS, SCAN, SEALED, RESERVED = 8, 9, 10, 11, 12, 13, 14, 15
-- Within SCAN[1], the last two only where a number is asked for:
local USER, CODE, NUMBER, CLAIM, ANSWER, NAME, PICTURE, HIDDEN, WRONG = 1, 2, 3, 4, 5, 6, 7, 8, 9
local OK, REPEATED, UNKNOWN, CONFLICT, NOT_YOURS = 0, 1, 2, 3, 4
local GONE, SUPERSEDED, IS_APPROVED, EARLY, OVER, ENDED_UNDELIVERED = 5, 6, 7, 8, 9, 10
local WRONG_NUMBER, CANNOT_MATCH = 11, 12

local function load()
  local raw = redis.call('GET', KEYS[1])
  if raw then return cmsgpack.unpack(raw), raw end
end

-- One SET is one notification of the class that is enabled ($), whatever the expiry raises.
local function save(r)
  local gone = r[END]
  if r[STATE] == WAITING then gone = gone + SLACK
  elseif r[STATE] <= APPROVED then gone = gone + SLACK + RECEIPT end
  local ms = math.max(1, math.ceil((gone - now) / 1000))
  local raw = cmsgpack.pack(r)
  redis.call('SET', KEYS[1], raw, 'PX', ms)
  return raw
end

-- The position of the code with this hash, from 0.
local function code_index(r, code)
  local index
  for i = 0, #r[HASHES] / 16 - 1 do
    if string.sub(r[HASHES], i * 16 + 1, i * 16 + 16) == code then index = i end
  end
  return index
end

-- Whether the login is kept for another user. RESERVED[1]: user, code hash, until
local function kept_from(r, user)
  local one = r[RESERVED] and r[RESERVED][1]
  return one and now < one[3] and one[1] ~= user
end

-- Whether this code's window of time is open, or kept open for this user.
local function is_open(r, index, user, code)
  local one = r[RESERVED] and r[RESERVED][1]
  if one and now < one[3] and one[1] == user and one[2] == code then return true end
  if r[ROTATE] == 0 then return true end
  local from = r[START] + index * r[ROTATE]
  return now >= from and now < from + r[ROTATE] + GRACE
end

local function unreserve(r)
  if not r[RESERVED] then return end
  r[RESERVED] = nil
  if r[SEALED] == '' then r[SEALED] = nil end
  if #r[SCAN] == 0 then r[SCAN] = nil end
end

-- The hash of the cookie of the browser that the login belongs to (codes.rs): behind those of its codes, and a
-- mark in front of it.
local BOUND = '\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0'
local function browser_of(r)
  if string.sub(r[HASHES], -32, -17) == BOUND then return string.sub(r[HASHES], -16) end
end

-- Whether an acknowledgement follows a redeemed ticket (epoch 0 says so), so that the socket's owner has no say in
-- it: nothing is sealed any more, or the login belongs to a browser.
local function by_ticket(r, epoch)
  return r[STATE] == APPROVED and (r[SEALED] or '') == '' or epoch == 0 and (r[STATE] > APPROVED or browser_of(r))
end

-- Whether this user's browser has the token, or could have it, and has not acknowledged.
local function is_pending(r, user)
  local first = r and r[SCAN] and r[SCAN][1]
  return first and first[USER] == user and r[STATE] == APPROVED and now < r[END] + SLACK
end

-- `browser`: it may redeem its ticket again, so the token stays for it.
local function finish(r, ending, browser)
  r[STATE], r[CHANGED], r[END] = ending, now, now + RECEIPT
  r[HASHES], r[FACTS] = browser and BOUND .. browser or '', { '', '', '' }
  if not browser then r[SEALED] = nil end
  r[RESERVED] = nil
  save(r)
end

local function approve(r, sealed, collect)
  r[STATE], r[CHANGED], r[END] = APPROVED, now, now + collect
  r[SEALED], r[RESERVED] = sealed, nil
  return save(r)
end

