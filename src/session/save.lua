-- Replaces a session's document, unless it was saved since it was read. Never creates a session: an ended one stays ended.
-- KEYS[1]  session   hash, one field a device
-- ARGV[1]  device    field
-- ARGV[2]  version   the one that was read
-- ARGV[3]  document  JSON
-- ARGV[4]  touchMs   interval in which a request need not update the time of the last request
-- ARGV[5]  step      what the version grows by, at random: a server that came back with an older snapshot does not reach the same version again
-- returns  { 'saved', value }, { 'conflict', value }, { 'moving' }: see mark-moving.lua, { 'gone' } or { 'corrupt' }
local value = redis.call('HGET', KEYS[1], ARGV[1])
if not value then return { 'gone' } end

local version, fixed, absoluteEnd, idleMs, idleEnd, label, markExpiresAt = string.match(value, '^%d+ (%d+) (%d+ (%d+) (%d+)) (%d+) %d+ (=[^%s@]*)@?(%d*) ')
if not version then return { 'corrupt' } end
absoluteEnd, idleMs = tonumber(absoluteEnd), tonumber(idleMs)
if nowMs >= absoluteEnd or nowMs >= tonumber(idleEnd) then return { 'gone' } end
if markExpiresAt ~= '' and nowMs < tonumber(markExpiresAt) then return { 'moving' } end
if version ~= ARGV[2] then return { 'conflict', value } end

local newEnd = math.min(nowMs + idleMs, absoluteEnd)
local due = math.min(nowMs + math.min(tonumber(ARGV[4]), idleMs / 4), newEnd)
local saved = string.format('%013d %.0f %s %d %d %s ', due, version + tonumber(ARGV[5]), fixed, newEnd, nowMs, label) .. ARGV[3]
redis.call('HSET', KEYS[1], ARGV[1], saved)
redis.call('PEXPIREAT', KEYS[1], newEnd, 'GT')
return { 'saved', saved }
