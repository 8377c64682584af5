-- Tells where the purge sequence stands before a handler runs, and sets markers that are missing, so that a purge meanwhile is seen.
-- KEYS[1]   sequence    string, a number; begins at Redis's clock where there is none
-- KEYS[2…]  markers     strings, of tags whose markers were missing
-- ARGV[1]   lifetimeMs
-- returns   the sequence, as text: Lua's numbers would lose digits
local sequence = redis.call('GET', KEYS[1])
if not sequence then
  sequence = string.format('%.0f', time[1] * 1000000 + time[2])
  redis.call('SET', KEYS[1], sequence, 'PX', ARGV[1])
end
for i = 2, #KEYS do redis.call('SET', KEYS[i], sequence, 'PX', ARGV[1], 'NX') end
return sequence
