-- Advances the purge sequence. First of two steps of a purge in a Cluster, where tag versions are in other slots. Safe to run twice.
-- KEYS[1]  sequence    string, a number; grows monotonically, also after the key was lost
-- ARGV[1]  lifetimeMs
-- ARGV[2]  seen        the new sequence is higher than this
-- returns  the new sequence, as text
local last = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), tonumber(ARGV[2]))
local sequence = string.format('%.0f', math.max(last + 1, time[1] * 1000000 + time[2]))
redis.call('SET', KEYS[1], sequence, 'PX', ARGV[1])
return sequence
