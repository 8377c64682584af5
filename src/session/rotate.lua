-- Moves a session, unchanged, to a new device name; the old name stops working.
-- KEYS[1]  session  hash, one field a device
-- ARGV[1]  from     field
-- ARGV[2]  to       field
-- returns  { 'rotated', value, nowMs }, { 'moving' }: see mark-moving.lua, { 'gone' } or { 'corrupt' }
local value = redis.call('HGET', KEYS[1], ARGV[1])
if not value then return { 'gone' } end

local absoluteEnd, idleEnd, markExpiresAt = string.match(value, '^%d+ %d+ %d+ (%d+) %d+ (%d+) %d+ =[^%s@]*@?(%d*) ')
if not absoluteEnd then return { 'corrupt' } end
if nowMs >= tonumber(absoluteEnd) or nowMs >= tonumber(idleEnd) then return { 'gone' } end
if markExpiresAt ~= '' and nowMs < tonumber(markExpiresAt) then return { 'moving' } end

redis.call('HSET', KEYS[1], ARGV[2], value)
redis.call('HDEL', KEYS[1], ARGV[1])
return { 'rotated', value, nowMs }
