-- Ends sessions of a user: absence is all there is to it. Named by when it was born, one is found whatever it was rotated to.
-- KEYS[1]  session  hash, one field a device; for some ms '~', the last birth among those that ended as soon as they began: no session may have it again
-- ARGV[1]  which    'these', or 'others': all but these
-- ARGV[2]  actor    field of the session that requests the revocation, which must still exist; '' for none
-- ARGV[3]  version  the one that the ended session was read at; '' for any
-- ARGV[4…] names    fields, or times of birth
-- returns  { 'conflict', value }: it was saved since; else { field that was ended, its birth, how many ms it had left at most, … }; false: the actor itself has been ended
if ARGV[2] ~= '' and redis.call('HEXISTS', KEYS[1], ARGV[2]) == 0 then return false end

local named, gone, ended, longest, lastBirth = {}, {}, {}, 0, 0
for i = 4, #ARGV do named[ARGV[i]] = true end
local entries = redis.call('HGETALL', KEYS[1])
for i = 1, #entries, 2 do
  local version, birth, absoluteEnd, idleEnd = string.match(entries[i + 1], '^%d+ (%d+) (%d+) (%d+) %d+ (%d+) ')
  local isNamed = named[entries[i]] or named[birth or ''] or false
  if entries[i] == '~' then
    lastBirth = math.max(lastBirth, tonumber(birth))
  elseif isNamed == (ARGV[1] == 'these') then
    if ARGV[3] ~= '' and version ~= ARGV[3] and nowMs < tonumber(idleEnd or 0) then return { 'conflict', entries[i + 1] } end
    gone[#gone + 1], lastBirth = entries[i], math.max(lastBirth, tonumber(birth) or 0)
    for _, fact in ipairs({ entries[i], birth or 0, (absoluteEnd or nowMs) - nowMs }) do ended[#ended + 1] = fact end
  else
    longest = math.max(longest, tonumber(idleEnd) or nowMs + 1)
  end
end

if #gone > 0 then
  if lastBirth >= nowMs then
    redis.call('HSET', KEYS[1], '~', string.format('0 0 %d 0 0 0 0 = ', lastBirth))
    longest = math.max(longest, lastBirth + 2)
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
