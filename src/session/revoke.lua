-- Ends sessions of a user: absence is all there is to it.
-- KEYS[1]  session  hash, one field a device
-- ARGV[1]  which    'these', or 'others': all but these
-- ARGV[2…] devices  fields
-- returns  fields that were ended
local named, gone, longest = {}, {}, 0
for i = 2, #ARGV do named[ARGV[i]] = true end
local entries = redis.call('HGETALL', KEYS[1])
for i = 1, #entries, 2 do
  if (named[entries[i]] or false) == (ARGV[1] == 'these') then
    gone[#gone + 1] = entries[i]
  else
    longest = math.max(longest, tonumber(string.match(entries[i + 1], '^%d+ %d+ %d+ %d+ (%d+) ') or nowMs + 1))
  end
end

if #gone > 0 then
  redis.call('HDEL', KEYS[1], unpack(gone))
  redis.call('PEXPIREAT', KEYS[1], longest)
end
return gone
