-- Stores an entry, unless one of its tags was purged during the fill or another process has stored one since. Releases the fill lock.
-- Publishes to waiters only if the lock says that there are any: a message costs Redis half a store, and more for each subscribed process.
-- A missing tag version may have been evicted after a purge: it is set to the current sequence, which is higher than filledAt after any purge.
-- A current sequence below filledAt was lost and restored, and says nothing of purges: both are set to Redis's clock, and nothing is stored.
-- A fill that lost its lock is still stored if the entry did not change: the next lock owner overwrites it.
-- KEYS[1]   entry             string
-- KEYS[2]   lock              string, of the entry; see acquire-lock.lua
-- KEYS[3]   sequence          string; absent in a Cluster, where sequence and versions are in other slots and were checked before
-- KEYS[4…]  versions          strings, of the entry's tags
-- ARGV[1]   filledAt          sequence read before the handler ran
-- ARGV[2]   value
-- ARGV[3]   lifetimeMs        of the entry
-- ARGV[4]   versionTtlMs      of sequence and versions; longer than the entry's
-- ARGV[5]   token             value of the lock while the caller owns it; '' for a fill without a lock
-- ARGV[6]   entryPrefix       first 48 bytes of the entry when the lock was acquired
-- ARGV[7]   channel
-- ARGV[8]   '1': extend the lifetime of sequence and versions
-- returns   1 if stored, else 0
local filledAt = tonumber(ARGV[1])
local lock = redis.call('GET', KEYS[2])
local hasWaiters = lock and string.match(lock, '!$')
local isOwner = lock == ARGV[5] or (hasWaiters and lock == ARGV[5] .. '!')
local isStored = 1
if ARGV[5] == '' then
  if lock and lock ~= 'pass' then isStored = 0 end
elseif not isOwner then
  local entry = redis.pcall('GETRANGE', KEYS[1], 0, 47)
  if type(entry) == 'string' and entry ~= ARGV[6] then isStored = 0 end
end
if KEYS[3] then
  local last = redis.call('GET', KEYS[3])
  local isLost = not last or tonumber(last) < filledAt
  local now = isLost and string.format('%.0f', math.max(filledAt + 1, time[1] * 1000000 + time[2])) or last
  if not last then isStored = 0 end
  for i = 4, #KEYS do
    local version = redis.call('GET', KEYS[i])
    if not version then
      version = now
      redis.call('SET', KEYS[i], version, 'PX', ARGV[4])
    end
    if tonumber(string.match(version, '^%d+')) > filledAt then isStored = 0 end
  end
  if isLost then redis.call('SET', KEYS[3], now, 'PX', ARGV[4]) end
end
if isStored == 1 then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  if ARGV[8] == '1' then
    for i = 3, #KEYS do redis.call('PEXPIRE', KEYS[i], ARGV[4], 'GT') end
  end
end
if isOwner or (isStored == 1 and lock == 'pass') then redis.call('DEL', KEYS[2]) end
if hasWaiters and (isOwner or isStored == 1) then
  redis.pcall('PUBLISH', ARGV[7], (isStored == 1 and 'kept ' or 'free ') .. KEYS[1])
end
return isStored
