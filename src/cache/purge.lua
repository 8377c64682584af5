-- Advances the purge sequence and raises the markers of tags to it: what was filled before is gone.
-- KEYS[1]   sequence    string, a number; only grows, also after it was lost, for a new one begins at Redis's clock
-- KEYS[2…]  markers     strings, a number each
-- ARGV[1]   lifetimeMs
-- returns   the new sequence, as text
local last = 0
for i = 1, #KEYS do last = math.max(last, tonumber(redis.call('GET', KEYS[i]) or 0)) end
local sequence = string.format('%.0f', math.max(last + 1, time[1] * 1000000 + time[2]))
redis.call('SET', KEYS[1], sequence, 'PX', ARGV[1])
for i = 2, #KEYS do
  redis.call('SET', KEYS[i], sequence, 'PX', ARGV[1])
end
return sequence
