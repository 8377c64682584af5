-- Keeps an answer, unless one of its tags was purged while it was made.
-- A marker that is missing may have been evicted after such a purge: then the sequence tells, for it has moved on.
-- KEYS[1]   sequence          string
-- KEYS[2]   entry             string
-- KEYS[3…]  markers           strings, of the entry's tags
-- ARGV[1]   filledAt          the sequence that the fill read before the handler ran
-- ARGV[2]   value
-- ARGV[3]   lifetimeMs        of the entry
-- ARGV[4]   markerLifetimeMs  longer than the entry's
-- returns   1 kept, 0 not
local filledAt = tonumber(ARGV[1])
local last = redis.call('GET', KEYS[1])
local now = string.format('%.0f', time[1] * 1000000 + time[2])
local isKept = last and 1 or 0
for i = 3, #KEYS do
  local marker = redis.call('GET', KEYS[i])
  if not marker then
    marker = last or now
    redis.call('SET', KEYS[i], marker, 'PX', ARGV[4])
  end
  if tonumber(marker) > filledAt then isKept = 0 end
end
if not last then redis.call('SET', KEYS[1], now, 'PX', ARGV[4]) end
if isKept == 0 then return 0 end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4], 'GT')
for i = 3, #KEYS do redis.call('PEXPIRE', KEYS[i], ARGV[4], 'GT') end
return 1
