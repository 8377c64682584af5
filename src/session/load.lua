-- Reads a device's session; at most once in touchMs, updates the time of the last request. The load succeeds also if that write fails.
-- KEYS[1]  session  hash, one field a device: 'due version created absoluteEnd idleMs idleEnd seen =label document'; see mark-moving.lua for '=label@expires'
--                   due: 13 digits, ms until which it is live and needs no update: most reads use nothing else
-- ARGV[1]  touchMs  interval in which a request need not update the time of the last request
-- ARGV[2]  device   field
-- ARGV[3]  earlier  optional: the field to use if the first does not exist
-- returns  false: no session, or it has ended; 'corrupt'; in most cases the value alone; else
--          '+', the ms of this request (13 digits), 1 if it was recorded (else 0), 1 if it is the earlier one (else 0), the value
local call, find, sub, nowText = redis.call, string.find, string.sub, string.format('%013d', nowMs)
-- each operation
local device, isEarlier = ARGV[2], '0'
local value = call('HGET', KEYS[1], device)
if not value and ARGV[3] then
  device, isEarlier = ARGV[3], '1'
  value = call('HGET', KEYS[1], device)
end
if not value then return false end
local untouched = isEarlier == '0' and '' or '+' .. nowText .. '01'
if find(value, '^%d+ %d+ %d') and sub(value, 1, 13) > nowText then return untouched .. value end

local head, absoluteEnd, idleMs, idleEnd, seen, rest = string.match(value, '^%d+ (%d+ %d+ (%d+) (%d+)) (%d+) (%d+)( =%S* .*)$')
if not head then return 'corrupt' end
absoluteEnd, idleMs, idleEnd, seen = tonumber(absoluteEnd), tonumber(idleMs), tonumber(idleEnd), tonumber(seen)
if nowMs >= absoluteEnd or nowMs >= idleEnd then return false end
local unnotedMs = math.min(tonumber(ARGV[1]), idleMs / 4)
if nowMs - seen < unnotedMs then return untouched .. value end

local newEnd = math.min(nowMs + idleMs, absoluteEnd)
local touched = string.format('%013d %s %d %d%s', math.min(nowMs + unnotedMs, newEnd), head, newEnd, nowMs, rest)
if type(redis.pcall('HSET', KEYS[1], device, touched)) == 'table' then return untouched .. value end
redis.pcall('PEXPIREAT', KEYS[1], newEnd, 'GT')
return '+' .. nowText .. '1' .. isEarlier .. touched
