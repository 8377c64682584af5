-- Reads the purge sequence before a handler runs, and creates missing tag versions, so that a purge during the run is detected.
-- KEYS[1]   sequence    string, a number; created from Redis's TIME if missing
-- KEYS[2…]  versions    strings, of tags whose version was missing
-- ARGV[1]   lifetimeMs
-- ARGV[2]   least       highest tag version or epoch known: a lower sequence was lost and restored, and is raised to it or to Redis's clock
-- returns   the sequence, as text: a Lua number would lose digits
local sequence = redis.call('GET', KEYS[1])
if not sequence or tonumber(sequence) < tonumber(ARGV[2]) then
  sequence = string.format('%.0f', math.max(tonumber(ARGV[2]), time[1] * 1000000 + time[2]))
  redis.call('SET', KEYS[1], sequence, 'PX', ARGV[1])
end
for i = 2, #KEYS do redis.call('SET', KEYS[i], sequence, 'PX', ARGV[1], 'NX') end
return sequence
