-- Acquires the lock of a cache fill in the same round trip as a lookup, if the entry does not exist and is not locked. Sets missing tag versions.
-- KEYS[1]   lock        string, see acquire-lock.lua
-- KEYS[2]   entry
-- KEYS[3]   sequence    string
-- KEYS[4..] versions    strings, of the tags that the response is expected to have
-- ARGV[1]   token
-- ARGV[2]   lockTtlMs
-- ARGV[3]   versionTtlMs
-- ARGV[4]   seen        highest sequence that the caller knows: a lower one was lost and restored, and must not become the version of a tag
-- reply     '<taken | pass> <sequence>'; false if the entry exists, is locked, or the sequence is not known
if redis.call('EXISTS', KEYS[2]) == 1 then return false end
local sequence = redis.call('GET', KEYS[3])
if not sequence or tonumber(sequence) < tonumber(ARGV[4]) then return false end
if not redis.call('SET', KEYS[1], sequence .. ' ' .. ARGV[1], 'PX', ARGV[2], 'NX') then
  return redis.call('GET', KEYS[1]) == 'pass' and 'pass ' .. sequence
end
for i = 4, #KEYS do redis.call('SET', KEYS[i], sequence, 'PX', ARGV[3], 'NX') end
return 'taken ' .. sequence
