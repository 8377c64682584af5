-- Ends sessions of a user by deleting their fields. A session is named by its field, or by its creation time, which a rotation keeps.
-- KEYS[1]  session  hash, one field a device; '~', for some ms: the latest creation time of sessions that have just ended, so that no new session gets it
-- ARGV[1]  which    'these', or 'others': all but these
-- ARGV[2]  actor    field of the session that requests the revocation, which must still exist; '' for none
-- ARGV[3]  version  the one that the ended session was read at; '' for any
-- ARGV[4…] names    fields, or creation times
-- returns  { 'conflict', value }: it was saved since; else for each session that was ended its field, creation time and ms left at most; false: the actor itself has ended
if ARGV[2] ~= '' and redis.call('HEXISTS', KEYS[1], ARGV[2]) == 0 then return false end

local named, gone, ended, longest, latestCreatedAt = {}, {}, {}, 0, 0
for i = 4, #ARGV do named[ARGV[i]] = true end
local entries = redis.call('HGETALL', KEYS[1])
for i = 1, #entries, 2 do
  local version, createdAt, absoluteEnd, idleEnd = string.match(entries[i + 1], '^%d+ (%d+) (%d+) (%d+) %d+ (%d+) ')
  local isNamed = named[entries[i]] or named[createdAt or ''] or false
  if entries[i] == '~' then
    latestCreatedAt = math.max(latestCreatedAt, tonumber(createdAt))
  elseif isNamed == (ARGV[1] == 'these') then
    if ARGV[3] ~= '' and version ~= ARGV[3] and nowMs < tonumber(idleEnd or 0) then return { 'conflict', entries[i + 1] } end
    gone[#gone + 1], latestCreatedAt = entries[i], math.max(latestCreatedAt, tonumber(createdAt) or 0)
    for _, fact in ipairs({ entries[i], createdAt or 0, (absoluteEnd or nowMs) - nowMs }) do ended[#ended + 1] = fact end
  else
    longest = math.max(longest, tonumber(idleEnd) or nowMs + 1)
  end
end

if #gone > 0 then
  if latestCreatedAt >= nowMs then
    redis.call('HSET', KEYS[1], '~', string.format('0 0 %d 0 0 0 0 = ', latestCreatedAt))
    longest = math.max(longest, latestCreatedAt + 2)
  end
  -- While a Cluster moves the slot, a key that is gone must not be touched again.
  if longest == 0 then
    redis.call('DEL', KEYS[1])
  else
    redis.call('HDEL', KEYS[1], unpack(gone))
    redis.call('PEXPIREAT', KEYS[1], longest)
  end
end
return ended
