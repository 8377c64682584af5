-- Raises the global marker of a server: what was filled before is gone, whatever its tags.
-- KEYS[1]  sequence    string, a number
-- KEYS[2]  marker      string, a number
-- ARGV[1]  lifetimeMs
-- ARGV[2]  seen        a sequence that it shall be higher than
-- ARGV[3]  least       where it stands at that already, it stays
-- returns  the marker, as text
local marker = redis.call('GET', KEYS[2])
if marker and tonumber(marker) >= tonumber(ARGV[3]) then return marker end
local last = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), tonumber(marker or 0), tonumber(ARGV[2]))
local sequence = string.format('%.0f', math.max(last + 1, time[1] * 1000000 + time[2]))
redis.call('SET', KEYS[1], sequence, 'PX', ARGV[1])
redis.call('SET', KEYS[2], sequence, 'PX', ARGV[1])
return sequence
