-- Begins a session on a device. Ends the device it replaces, those whose time is over, and beyond the limit those seen least recently.
-- KEYS[1]  session     hash, one field a device
-- ARGV[1]  device      field
-- ARGV[2]  idleMs
-- ARGV[3]  absoluteMs
-- ARGV[4]  label       '=' and an encoded text
-- ARGV[5]  document    JSON
-- ARGV[6]  limit       devices at most
-- ARGV[7]  replaced    field, or ''
-- returns  { value, device that was ended while it lived, how many ms it had left, … }
local entries, live, gone, ended = redis.call('HGETALL', KEYS[1]), {}, {}, {}
for i = 1, #entries, 2 do
  local absoluteEnd, idleEnd, seen = string.match(entries[i + 1], '^%d+ %d+ (%d+) %d+ (%d+) (%d+) =')
  local isLive = absoluteEnd and nowMs < tonumber(absoluteEnd) and nowMs < tonumber(idleEnd)
  if isLive and entries[i] ~= ARGV[7] then
    live[#live + 1] = { device = entries[i], seen = tonumber(seen), idleEnd = tonumber(idleEnd), absoluteEnd = tonumber(absoluteEnd) }
  else
    gone[#gone + 1] = entries[i]
    if isLive then ended[#ended + 1], ended[#ended + 2] = entries[i], absoluteEnd - nowMs end
  end
end
table.sort(live, function (a, b) return a.seen < b.seen end)
while #live >= tonumber(ARGV[6]) do
  local least = table.remove(live, 1)
  gone[#gone + 1], ended[#ended + 1], ended[#ended + 2] = least.device, least.device, least.absoluteEnd - nowMs
end

local absoluteEnd = nowMs + tonumber(ARGV[3])
local idleEnd = math.min(nowMs + tonumber(ARGV[2]), absoluteEnd)
local longest = idleEnd
for _, device in ipairs(live) do longest = math.max(longest, device.idleEnd) end
local value = string.format('1 %d %d %d %d %d %s ', nowMs, absoluteEnd, ARGV[2], idleEnd, nowMs, ARGV[4]) .. ARGV[5]
redis.call('HSET', KEYS[1], ARGV[1], value)
if #gone > 0 then redis.call('HDEL', KEYS[1], unpack(gone)) end
redis.call('PEXPIREAT', KEYS[1], longest)
return { value, unpack(ended) }
