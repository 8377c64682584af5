-- Advances the purge sequence: the first of two steps where markers stand in other slots. Twice does no harm.
-- KEYS[1]  sequence    string, a number; only grows, also after it was lost
-- ARGV[1]  lifetimeMs
-- ARGV[2]  seen        a sequence that it shall be higher than
-- returns  the new sequence, as text
local last = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), tonumber(ARGV[2]))
local sequence = string.format('%.0f', math.max(last + 1, time[1] * 1000000 + time[2]))
redis.call('SET', KEYS[1], sequence, 'PX', ARGV[1])
return sequence
