-- Marks a session as moving: a sign-in copies its values to another one, and until the mark expires nothing is saved here. Found by its creation time, which a rotation keeps.
-- KEYS[1]  session  hash, one field a device
-- ARGV[1]  createdAt
-- ARGV[2]  version    the one that was read
-- ARGV[3]  markMs     lifetime of the mark
-- returns  { 'marked' }, { 'conflict', value }: it was saved since; { 'gone' }
local entries = redis.call('HGETALL', KEYS[1])
for i = 1, #entries, 2 do
  local version, createdAt, absoluteEnd, idleEnd = string.match(entries[i + 1], '^%d+ (%d+) (%d+) (%d+) %d+ (%d+) %d+ =')
  if createdAt == ARGV[1] and nowMs < tonumber(absoluteEnd) and nowMs < tonumber(idleEnd) then
    if version ~= ARGV[2] then return { 'conflict', entries[i + 1] } end
    local head, rest = string.match(entries[i + 1], '^(%d+ %d+ %d+ %d+ %d+ %d+ %d+ =[^%s@]*)%S*( .*)$')
    redis.call('HSET', KEYS[1], entries[i], string.format('%s@%.0f%s', head, nowMs + tonumber(ARGV[3]), rest))
    return { 'marked' }
  end
end
return { 'gone' }
