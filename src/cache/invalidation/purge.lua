-- Advances the purge sequence and raises the markers of tags to it: what was filled before is gone, or stale.
-- KEYS[1]   sequence    string, a number; only grows, also after it was lost, for a new one begins at Redis's clock
-- KEYS[2…]  markers     strings: '<gone before>', or '<gone before> <stale before>'
-- ARGV[1]   lifetimeMs
-- ARGV[2]   '1': stale; where a marker is missing, gone, for nobody knows what was purged before
-- ARGV[3]   seen        a sequence that it shall be higher than
-- returns   the new sequence, as text
local last, gone = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), tonumber(ARGV[3])), {}
for i = 2, #KEYS do
  local marker = redis.call('GET', KEYS[i]) or ''
  gone[i] = string.match(marker, '^%d+')
  for number in string.gmatch(marker, '%d+') do last = math.max(last, tonumber(number)) end
end
local sequence = string.format('%.0f', math.max(last + 1, time[1] * 1000000 + time[2]))
redis.call('SET', KEYS[1], sequence, 'PX', ARGV[1])
for i = 2, #KEYS do
  local marker = ARGV[2] == '1' and gone[i] and gone[i] .. ' ' .. sequence or sequence
  redis.call('SET', KEYS[i], marker, 'PX', ARGV[1])
end
return sequence
