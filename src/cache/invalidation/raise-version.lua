-- Raises a tag version to a sequence; a higher version is not changed. See purge.lua.
-- KEYS[1]  version     string: '<unusable before>', or '<unusable before> <stale before>'
-- ARGV[1]  sequence
-- ARGV[2]  lifetimeMs
-- ARGV[3]  '1': soft purge, entries filled before are stale instead of unusable
-- returns  the version, as text
local unusable, stale = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+) ?(%d*)$')
local sequence = tonumber(ARGV[1])
stale = tonumber(stale) or 0
if not unusable or (ARGV[3] ~= '1' and sequence > tonumber(unusable)) then
  unusable = ARGV[1]
elseif ARGV[3] == '1' then
  stale = math.max(stale, sequence)
end
local version = stale > tonumber(unusable) and string.format('%s %.0f', unusable, stale) or unusable
local left = redis.call('PTTL', KEYS[1])
redis.call('SET', KEYS[1], version, 'PX', math.max(left, tonumber(ARGV[2])))
return version
