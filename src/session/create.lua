-- Begins a session. Ends the one it replaces, those whose time is over, and beyond the limit those seen least recently.
-- KEYS[1]  session     hash, one field a device
-- ARGV[1]  field
-- ARGV[2]  idleMs
-- ARGV[3]  absoluteMs
-- ARGV[4]  label       '=' and an encoded text
-- ARGV[5]  document    JSON
-- ARGV[6]  limit       sessions at most
-- ARGV[7]  replaced    a time of birth, or 0
-- ARGV[8]  touchMs     interval in which a request need not update the time of the last request
-- ARGV[9]  version     of the one that is replaced, as it was read; '' for any
-- returns  { 'conflict', value }: the one that is to be replaced was saved since; else { value, field that was ended while it lived, its birth, how many ms it had left, … }
-- Later than the one it replaces, also where that has just ended: what names a birth must not mean this one too.
local entries, live, gone, ended, bornAt = redis.call('HGETALL', KEYS[1]), {}, {}, {}, math.max(nowMs, tonumber(ARGV[7]) + 1)
local function finish (field, birth, leftMs)
  gone[#gone + 1] = field
  if leftMs > 0 then for _, fact in ipairs({ field, birth, leftMs }) do ended[#ended + 1] = fact end end
end
for i = 1, #entries, 2 do
  local version, birth, absoluteEnd, idleEnd, seen = string.match(entries[i + 1], '^%d+ (%d+) (%d+) (%d+) %d+ (%d+) (%d+) =')
  local leftMs = math.min(tonumber(absoluteEnd or 0), tonumber(idleEnd or 0)) - nowMs
  bornAt = math.max(bornAt, tonumber(birth or 0) + 1)
  if leftMs > 0 and birth == ARGV[7] and ARGV[9] ~= '' and version ~= ARGV[9] then return { 'conflict', entries[i + 1] } end
  if leftMs <= 0 or birth == ARGV[7] then
    finish(entries[i], birth or 0, leftMs > 0 and absoluteEnd - nowMs or 0)
  else
    live[#live + 1] = { entries[i], birth, absoluteEnd - nowMs, seen = tonumber(seen), idleEnd = tonumber(idleEnd) }
  end
end
table.sort(live, function (a, b) return a.seen < b.seen end)
while #live >= tonumber(ARGV[6]) do finish(unpack(table.remove(live, 1))) end

local absoluteEnd = nowMs + tonumber(ARGV[3])
local idleEnd = math.min(nowMs + tonumber(ARGV[2]), absoluteEnd)
local longest = idleEnd
for _, other in ipairs(live) do longest = math.max(longest, other.idleEnd) end
local due = math.min(nowMs + math.min(tonumber(ARGV[8]), tonumber(ARGV[2]) / 4), idleEnd)
local value = string.format('%013d 1 %d %d %d %d %d %s ', due, bornAt, absoluteEnd, ARGV[2], idleEnd, nowMs, ARGV[4]) .. ARGV[5]
redis.call('HSET', KEYS[1], ARGV[1], value)
if #gone > 0 then redis.call('HDEL', KEYS[1], unpack(gone)) end
redis.call('PEXPIREAT', KEYS[1], longest)
return { value, unpack(ended) }
