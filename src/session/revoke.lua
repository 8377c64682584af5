-- Ends sessions of a user: absence is all there is to it.
-- KEYS[1]  session  hash, one field a device
-- ARGV[1]  which    'these', or 'others': all but these
-- ARGV[2…] devices  fields
-- returns  { field that was ended, how many ms it had left at most, … }
local named, gone, ended, longest = {}, {}, {}, 0
for i = 2, #ARGV do named[ARGV[i]] = true end
local entries = redis.call('HGETALL', KEYS[1])
for i = 1, #entries, 2 do
  local absoluteEnd, idleEnd = string.match(entries[i + 1], '^%d+ %d+ (%d+) %d+ (%d+) ')
  if (named[entries[i]] or false) == (ARGV[1] == 'these') then
    gone[#gone + 1] = entries[i]
    ended[#ended + 1], ended[#ended + 2] = entries[i], (absoluteEnd or nowMs) - nowMs
  else
    longest = math.max(longest, tonumber(idleEnd) or nowMs + 1)
  end
end

if #gone > 0 then
  redis.call('HDEL', KEYS[1], unpack(gone))
  redis.call('PEXPIREAT', KEYS[1], longest)
end
return ended
