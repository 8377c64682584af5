-- Raises a tag's marker to a sequence, unless it stands higher already; see purge.lua.
-- KEYS[1]  marker      string: '<gone before>', or '<gone before> <stale before>'
-- ARGV[1]  sequence
-- ARGV[2]  lifetimeMs
-- ARGV[3]  '1': what was filled before is stale, not gone
-- returns  the marker, as text
local gone, stale = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+) ?(%d*)$')
local sequence = tonumber(ARGV[1])
stale = tonumber(stale) or 0
if not gone or (ARGV[3] ~= '1' and sequence > tonumber(gone)) then
  gone = ARGV[1]
elseif ARGV[3] == '1' then
  stale = math.max(stale, sequence)
end
local marker = stale > tonumber(gone) and string.format('%s %.0f', gone, stale) or gone
local left = redis.call('PTTL', KEYS[1])
redis.call('SET', KEYS[1], marker, 'PX', math.max(left, tonumber(ARGV[2])))
return marker
