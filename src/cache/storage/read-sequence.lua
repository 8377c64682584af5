-- Reads the purge sequence before a handler runs, and creates missing tag versions, so that a purge during the run is detected.
-- KEYS[1]   sequence    string, a number; created from Redis's TIME if missing
-- KEYS[2…]  versions    strings, of tags whose version was missing
-- ARGV[1]   lifetimeMs
-- ARGV[2]   least       highest tag version or epoch known: a lower sequence was lost and is raised to it
-- returns   the sequence, as text: a Lua number would lose digits
local sequence = redis.call('GET', KEYS[1])
local isLost = not sequence
if isLost then sequence = string.format('%.0f', time[1] * 1000000 + time[2]) end
if isLost or tonumber(sequence) < tonumber(ARGV[2]) then
  if tonumber(sequence) < tonumber(ARGV[2]) then sequence = ARGV[2] end
  redis.call('SET', KEYS[1], sequence, 'PX', ARGV[1])
end
for i = 2, #KEYS do redis.call('SET', KEYS[i], sequence, 'PX', ARGV[1], 'NX') end
return sequence
