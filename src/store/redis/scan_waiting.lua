-- In front of scan.lua's prelude, as nearly every login goes through it: a scan that approves a login which
-- waits and is kept for nobody. Taking the record apart and packing it again would double what the script
-- costs (docs/capacity.md), so what changes is put in as it is: behind the state, epoch and protocol of one
-- byte each stand three times of nine (offset 31), and what is new comes last (record.rs). Whatever is not as
-- usual goes on below, where all rules are.
local raw = redis.call('GET', KEYS[1])
-- Twelve fields: nobody has scanned.
if raw and ARGV[2] == '0' and string.byte(raw) == 156 then
  local at, state, _, _, _, _, over = cmsgpack.unpack_limit(raw, 6, 1)
  if at == 31 and state == WAITING and now < over then
    local _, _, start, rotate, first, hashes = cmsgpack.unpack_limit(raw, 5, 31)
    local found = string.find(hashes, ARGV[1], 1, true)
    local index = found and (found - 1) / 16
    local from = index and start + index * rotate
    if index and index % 1 == 0 and first + index < 128
      and (rotate == 0 or now >= from and now < from + rotate + GRACE) then
      local approved = '\158\2' .. string.sub(raw, 3, 13)
        .. struct.pack('>BI8BI8', 207, now, 207, now + ARGV[3])
        .. string.sub(raw, 32) .. ARGV[5] .. string.char(first + index) .. ARGV[6]
      redis.call('SET', KEYS[1], approved, 'PX', ARGV[4])
      return { 0, 0, approved }
    end
  end
end

