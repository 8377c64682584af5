-- Creates a session. Ends the one it replaces, expired ones, and beyond the limit those used least recently.
-- KEYS[1]  session     hash, one field a device
-- ARGV[1]  field
-- ARGV[2]  idleMs
-- ARGV[3]  absoluteMs
-- ARGV[4]  label       '=' and an encoded text
-- ARGV[5]  document    JSON
-- ARGV[6]  limit       sessions at most
-- ARGV[7]  replaced    creation time of the session that it replaces, or 0
-- ARGV[8]  touchMs     interval in which a request need not update the time of the last request
-- ARGV[9]  version     of the one that is replaced, as it was read; '' for any
-- returns  { 'conflict', value }: the session to replace was saved since; else { value, then for each session that was ended before its expiry its field, creation time and ms left }
-- Later than that of the one it replaces, also where that has just ended: a creation time names one session of the hash.
local entries, live, gone, ended, newCreatedAt = redis.call('HGETALL', KEYS[1]), {}, {}, {}, math.max(nowMs, tonumber(ARGV[7]) + 1)
local function finish (field, createdAt, leftMs)
  gone[#gone + 1] = field
  if leftMs > 0 then for _, fact in ipairs({ field, createdAt, leftMs }) do ended[#ended + 1] = fact end end
end
for i = 1, #entries, 2 do
  local version, createdAt, absoluteEnd, idleEnd, seen = string.match(entries[i + 1], '^%d+ (%d+) (%d+) (%d+) %d+ (%d+) (%d+) =')
  local leftMs = math.min(tonumber(absoluteEnd or 0), tonumber(idleEnd or 0)) - nowMs
  newCreatedAt = math.max(newCreatedAt, tonumber(createdAt or 0) + 1)
  if leftMs > 0 and createdAt == ARGV[7] and ARGV[9] ~= '' and version ~= ARGV[9] then return { 'conflict', entries[i + 1] } end
  if leftMs <= 0 or createdAt == ARGV[7] then
    finish(entries[i], createdAt or 0, leftMs > 0 and absoluteEnd - nowMs or 0)
  else
    live[#live + 1] = { entries[i], createdAt, absoluteEnd - nowMs, seen = tonumber(seen), idleEnd = tonumber(idleEnd) }
  end
end
table.sort(live, function (a, b) return a.seen < b.seen end)
while #live >= tonumber(ARGV[6]) do finish(unpack(table.remove(live, 1))) end

local absoluteEnd = nowMs + tonumber(ARGV[3])
local idleEnd = math.min(nowMs + tonumber(ARGV[2]), absoluteEnd)
local longest = idleEnd
for _, other in ipairs(live) do longest = math.max(longest, other.idleEnd) end
local due = math.min(nowMs + math.min(tonumber(ARGV[8]), tonumber(ARGV[2]) / 4), idleEnd)
local value = string.format('%013d 1 %d %d %d %d %d %s ', due, newCreatedAt, absoluteEnd, ARGV[2], idleEnd, nowMs, ARGV[4]) .. ARGV[5]
redis.call('HSET', KEYS[1], ARGV[1], value)
if #gone > 0 then redis.call('HDEL', KEYS[1], unpack(gone)) end
redis.call('PEXPIREAT', KEYS[1], longest)
return { value, unpack(ended) }
