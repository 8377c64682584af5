-- Advances the purge sequence and sets the versions of tags to it: entries filled before are unusable (hard purge) or stale (soft purge).
-- KEYS[1]   sequence    string, a number; grows monotonically, also after the key was lost: a new one starts at Redis's TIME
-- KEYS[2…]  versions    strings: '<unusable before>', or '<unusable before> <stale before>'
-- ARGV[1]   lifetimeMs
-- ARGV[2]   '1': soft purge; a tag whose version is missing is purged hard, because earlier purges may have been lost
-- ARGV[3]   seen        the new sequence is higher than this
-- returns   the new sequence, as text
local last, unusable = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), tonumber(ARGV[3])), {}
for i = 2, #KEYS do
  local version = redis.call('GET', KEYS[i]) or ''
  unusable[i] = string.match(version, '^%d+')
  for number in string.gmatch(version, '%d+') do last = math.max(last, tonumber(number)) end
end
local sequence = string.format('%.0f', math.max(last + 1, time[1] * 1000000 + time[2]))
redis.call('SET', KEYS[1], sequence, 'PX', ARGV[1])
for i = 2, #KEYS do
  local version = ARGV[2] == '1' and unusable[i] and unusable[i] .. ' ' .. sequence or sequence
  redis.call('SET', KEYS[i], version, 'PX', ARGV[1])
end
return sequence
