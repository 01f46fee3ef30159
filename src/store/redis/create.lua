-- Alone in its file, as every login goes through it: the prelude would cost a tenth of it.
-- ARGV: record without times, wait, ms to live. All four times are zero in the record, each one byte
-- at a place that never changes (record.rs: behind state, epoch and protocol; behind the proof): put
-- in as they are, since taking the record apart and packing it again costs half of this script.
-- Gives Redis's time.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local record = ARGV[1]
local function packed(moment) return '\207' .. struct.pack('>I8', moment) end
local at = packed(now)
record = string.sub(record, 1, 4) .. at .. at .. packed(now + ARGV[2]) .. string.sub(record, 8, 24)
  .. at .. string.sub(record, 26)
redis.call('SET', KEYS[1], record, 'PX', ARGV[3])
return time
