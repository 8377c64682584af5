-- Raises a tag's marker, unless it stands higher already.
-- KEYS[1]  marker      string, a number
-- ARGV[1]  sequence
-- ARGV[2]  lifetimeMs
-- returns  the marker, as text
local before = redis.call('GET', KEYS[1])
if before and tonumber(before) >= tonumber(ARGV[1]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[2], 'GT')
  return before
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]
