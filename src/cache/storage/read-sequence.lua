-- Tells where the purge sequence stands before a handler runs, and sets markers that are missing, so that a purge meanwhile is seen.
-- KEYS[1]   sequence    string, a number; begins at Redis's clock where there is none
-- KEYS[2…]  markers     strings, of tags whose markers were missing
-- ARGV[1]   lifetimeMs
-- ARGV[2]   least       a marker's sequence, or that of the epoch: one below it was set back, and is raised to it
-- returns   the sequence, as text: Lua's numbers would lose digits
local sequence = redis.call('GET', KEYS[1])
local isLost = not sequence
if isLost then sequence = string.format('%.0f', time[1] * 1000000 + time[2]) end
if isLost or tonumber(sequence) < tonumber(ARGV[2]) then
  if tonumber(sequence) < tonumber(ARGV[2]) then sequence = ARGV[2] end
  redis.call('SET', KEYS[1], sequence, 'PX', ARGV[1])
end
for i = 2, #KEYS do redis.call('SET', KEYS[i], sequence, 'PX', ARGV[1], 'NX') end
return sequence
