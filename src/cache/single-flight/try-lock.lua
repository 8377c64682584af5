-- Takes the lock of a fill along with a look, where nothing stands under the key and nobody fills it; and sets markers that are missing.
-- KEYS[1]   lock        string, see lock.lua
-- KEYS[2]   entry
-- KEYS[3]   sequence    string
-- KEYS[4…]  markers     strings, of the tags that the answer is expected to bear
-- ARGV[1]   token
-- ARGV[2]   lifetimeMs
-- ARGV[3]   markerLifetimeMs
-- returns   '<taken | pass> <sequence>'; false where there is something to look at, or somebody to wait for
if redis.call('EXISTS', KEYS[2]) == 1 then return false end
local sequence = redis.call('GET', KEYS[3])
if not sequence then return false end
if not redis.call('SET', KEYS[1], sequence .. ' ' .. ARGV[1], 'PX', ARGV[2], 'NX') then
  return redis.call('GET', KEYS[1]) == 'pass' and 'pass ' .. sequence
end
for i = 4, #KEYS do redis.call('SET', KEYS[i], sequence, 'PX', ARGV[3], 'NX') end
return 'taken ' .. sequence
