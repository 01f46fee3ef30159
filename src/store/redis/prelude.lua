-- In front of every script: the positions in the record (record.rs), loading and saving.
-- Scripts are the Redis twin of login.rs, and tests/it/conformance.rs holds both to the same rules.
local STATE, EPOCH, PROTOCOL, CREATED, CHANGED, END, PROOF = 1, 2, 3, 4, 5, 6, 7
local START, ROTATE, FIRST, HASHES, FACTS, SCAN, SEALED = 8, 9, 10, 11, 12, 13, 14
-- Within SCAN[1], the last two only where a number is asked for:
local USER, CODE, NUMBER, CLAIM, ANSWER, NAME, PICTURE, HIDDEN, WRONG = 1, 2, 3, 4, 5, 6, 7, 8, 9
local OK, REPEATED, UNKNOWN, CONFLICT, NOT_YOURS = 0, 1, 2, 3, 4
local GONE, SUPERSEDED, IS_APPROVED, EARLY, OVER, ENDED_UNDELIVERED = 5, 6, 7, 8, 9, 10
local WRONG_NUMBER, CANNOT_MATCH = 11, 12

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

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

local function finish(r, ending)
  r[STATE], r[CHANGED], r[END] = ending, now, now + RECEIPT
  r[HASHES], r[FACTS] = '', { '', '', '' }
  r[SEALED] = nil
  save(r)
end

local function approve(r, sealed, collect)
  r[STATE], r[CHANGED], r[END] = APPROVED, now, now + collect
  r[FACTS] = { '', '', '' }
  r[SEALED] = sealed
  save(r)
end

