-- Reads a device's session; notes, now and then, that it was seen. A note that cannot be written fails nothing.
-- KEYS[1]  session  hash, one field a device: 'version created absoluteEnd idleMs idleEnd seen label document'
-- ARGV[1]  touchMs  how long a visit may go unnoted
-- ARGV[2…] devices  fields; the first that is there counts
-- returns  false: none, or it has ended; 'corrupt'; or one text, for reading a reply costs by its elements: 'nowMs touched device value', touched 0 or 1
local device, value
for i = 2, #ARGV do
  device = ARGV[i]
  value = redis.call('HGET', KEYS[1], device)
  if value then break end
end
if not value then return false end

local head, absoluteEnd, idleMs, idleEnd, seen, rest = string.match(value, '^(%d+ %d+ (%d+) (%d+)) (%d+) (%d+)( =%S* .*)$')
if not head then return 'corrupt' end
absoluteEnd, idleMs, idleEnd, seen = tonumber(absoluteEnd), tonumber(idleMs), tonumber(idleEnd), tonumber(seen)
if nowMs >= absoluteEnd or nowMs >= idleEnd then return false end
if nowMs - seen < math.min(tonumber(ARGV[1]), idleMs / 4) then return table.concat({ nowMs, 0, device, value }, ' ') end

local newEnd = math.min(nowMs + idleMs, absoluteEnd)
local touched = string.format('%s %d %d%s', head, newEnd, nowMs, rest)
if type(redis.pcall('HSET', KEYS[1], device, touched)) == 'table' then return table.concat({ nowMs, 0, device, value }, ' ') end
redis.pcall('PEXPIREAT', KEYS[1], newEnd, 'GT')
return table.concat({ nowMs, 1, device, touched }, ' ')
