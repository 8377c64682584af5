-- Reads the purge sequence; begins one, at Redis's clock, where there is none.
-- KEYS[1]  sequence    string, a number
-- ARGV[1]  lifetimeMs
-- returns  the sequence, as text: Lua's numbers would lose digits
local sequence = redis.call('GET', KEYS[1])
if not sequence then
  sequence = string.format('%.0f', time[1] * 1000000 + time[2])
  redis.call('SET', KEYS[1], sequence, 'PX', ARGV[1])
end
return sequence
