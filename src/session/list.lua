-- Lists a user's live sessions.
-- KEYS[1]  session  hash, one field a device
-- returns  { the value before its document, … }
local entries, live = redis.call('HGETALL', KEYS[1]), {}
for i = 2, #entries, 2 do
  local head, absoluteEnd, idleEnd = string.match(entries[i], '^(%d+ %d+ %d+ (%d+) %d+ (%d+) %d+ =%S* )')
  if head and nowMs < tonumber(absoluteEnd) and nowMs < tonumber(idleEnd) then live[#live + 1] = head end
end
return live
