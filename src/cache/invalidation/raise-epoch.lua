-- Raises the epoch of a server: entries filled before are unusable, whatever their tags.
-- KEYS[1]  sequence    string, a number
-- KEYS[2]  epoch       string, a number
-- ARGV[1]  lifetimeMs
-- ARGV[2]  seen        the new epoch is higher than this
-- ARGV[3]  least       an epoch of at least this is not raised
-- returns  the epoch, as text
local epoch = redis.call('GET', KEYS[2])
if epoch and tonumber(epoch) >= tonumber(ARGV[3]) then return epoch end
local last = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), tonumber(epoch or 0), tonumber(ARGV[2]))
local sequence = string.format('%.0f', math.max(last + 1, time[1] * 1000000 + time[2]))
redis.call('SET', KEYS[1], sequence, 'PX', ARGV[1])
redis.call('SET', KEYS[2], sequence, 'PX', ARGV[1])
return sequence
