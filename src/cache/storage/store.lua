-- Keeps an answer, unless one of its tags was purged while it was made, or somebody has stored since; gives the lock back, and tells who waits,
-- if anybody does: a message costs Redis as much as half a store, and each process that listens more.
-- A marker that is missing may have been evicted after such a purge: then the sequence tells, for it has moved on.
-- A lock that was lost costs nothing as long as nobody has stored: who took it stores over this one. A run that is longer than others' patience is kept.
-- KEYS[1]   entry             string
-- KEYS[2]   lock              string, of the entry; see fill/lock.lua
-- KEYS[3]   sequence          string; in a Cluster it and the markers lie elsewhere, and were looked at before
-- KEYS[4…]  markers           strings, of the entry's tags
-- ARGV[1]   filledAt          the sequence that the fill read before the handler ran
-- ARGV[2]   value
-- ARGV[3]   lifetimeMs        of the entry
-- ARGV[4]   markerLifetimeMs  longer than the entry's
-- ARGV[5]   holder            what the lock holds while it is the caller's; '' for who fills without one
-- ARGV[6]   seen              the entry's first 48 bytes when the lock was taken
-- ARGV[7]   channel
-- ARGV[8]   '1': sequence and markers shall live longer again
-- returns   1 kept, 0 not
local filledAt = tonumber(ARGV[1])
local holder = redis.call('GET', KEYS[2])
local isWaitedFor = holder and string.match(holder, '!$')
local isOwner = holder == ARGV[5] or (isWaitedFor and holder == ARGV[5] .. '!')
local isKept = 1
if ARGV[5] == '' then
  if holder and holder ~= 'pass' then isKept = 0 end
elseif not isOwner then
  local entry = redis.pcall('GETRANGE', KEYS[1], 0, 47)
  if type(entry) == 'string' and entry ~= ARGV[6] then isKept = 0 end
end
if KEYS[3] then
  local last = redis.call('GET', KEYS[3])
  local now = last or string.format('%.0f', time[1] * 1000000 + time[2])
  if not last then isKept = 0 end
  for i = 4, #KEYS do
    local marker = redis.call('GET', KEYS[i])
    if not marker then
      marker = now
      redis.call('SET', KEYS[i], marker, 'PX', ARGV[4])
    end
    if tonumber(string.match(marker, '^%d+')) > filledAt then isKept = 0 end
  end
  if not last then redis.call('SET', KEYS[3], now, 'PX', ARGV[4]) end
end
if isKept == 1 then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  if ARGV[8] == '1' then
    for i = 3, #KEYS do redis.call('PEXPIRE', KEYS[i], ARGV[4], 'GT') end
  end
end
if isOwner or (isKept == 1 and holder == 'pass') then redis.call('DEL', KEYS[2]) end
if isWaitedFor and (isOwner or isKept == 1) then
  redis.pcall('PUBLISH', ARGV[7], (isKept == 1 and 'kept ' or 'free ') .. KEYS[1])
end
return isKept
