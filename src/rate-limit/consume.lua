-- Consumes units from every policy of a request, or from none. Identical requests of one tick are checked together.
-- KEYS[p]    counter of policy p  string, tagged by its algorithm, or a sorted set of concurrency slots; expires when it is empty
-- KEYS[p+1]  session              optional: hash as in session/load.lua; without a valid session nothing is consumed
-- ARGV[1]    requested                number of identical requests; as many as fit are granted; 0 consumes nothing
-- ARGV[2]    deadlineMs           by Redis's clock; afterwards the caller has timed out, and nothing is consumed; 0 for none
-- ARGV[2+p]  quota of policy p    'algorithm quota windowMs bucketOrBurst cost'; bucketOrBurst: bucket length in ms (sliding) or burst (gcra)
-- ARGV[3+p]  device               optional: 'l ' and the session's hash fields; the first that exists counts
-- ARGV[4+p]  lease                optional: 'i ' and the prefix of slot IDs, which are '<prefix>.1', '<prefix>.2', …
-- returns    'granted nowMs', then for each policy ' remaining resetMs retryMs': ms until more units come, ms until one more request fits
--            granted -1: after the deadline; -2: no valid session
-- A rejection only reads, unless a counter has no expiry or lies in the future because the clock was set back: then it counts as of now.
-- This is the busiest script: reading the counters, creating functions and converting numbers, which cost as much as half a command each,
-- are done once a call. The reply is one string: the cost of a reply grows with its elements.
local call, byte, sub, format, match = redis.call, string.byte, string.sub, string.format, string.match
local pack, unpackFields, floor, ceil, max = struct.pack, struct.unpack, math.floor, math.ceil, math.max
local numbers, texts = {}, {}
local function number (text)
  numbers[text] = numbers[text] or tonumber(text)
  return numbers[text]
end
local function text (number)
  texts[number] = texts[number] or format('%d', number)
  return texts[number]
end
local nowUs, nowText = time[1] * 1000000 + time[2], ' ' .. text(nowMs)
local oneText = '1' .. nowText

-- Stored values by key; true if changed in place since and to be read again. A value of another type reads as empty and is replaced.
local counters, found = {}, #KEYS > 0 and call('MGET', unpack(KEYS)) or {}
for i = 1, #KEYS do counters[KEYS[i]] = found[i] end
local function put (key, counter, lifeMs)
  counters[key] = counter
  if counter then call('SET', key, counter, 'PX', text(lifeMs)) else call('DEL', key) end
end
-- State of the current check by policy; the tables are reused between checks to avoid allocation.
local appliedPolicies, freeUnits, used, isStored, needsRepair = {}, {}, {}, {}, {}

-- 's': units used (I4), then buckets: end in ms (I6) and units (I4). The newest comes first, then the others in order.
-- A bucket is removed once all of it is older than the window.
local storedText, first, last, newest, newestUnits, oldest = {}, {}, {}, {}, {}, {}
local function sliding (policy)
  local quota, endMs, goneMs, waitMs = policy.quota, (floor(nowMs / policy.bucketOrBurst) + 1) * policy.bucketOrBurst, nowMs - policy.windowMs, policy.windowMs - nowMs
  local lifeText = text(endMs + waitMs)

  function policy.read (p, counter)
    local size, from, tag, sum, newMs, newUnits, oldMs, oldUnits = #counter, 16, 0, 0, 0, 0, 0, 0
    if size == 15 then
      tag, sum, newMs, newUnits = unpackFields('>BI4I6I4', counter)
    elseif size > 15 and size % 10 == 5 then
      tag, sum, newMs, newUnits, oldMs, oldUnits = unpackFields('>BI4I6I4I6I4', counter)
    end
    if tag ~= 115 then
      needsRepair[p], size, sum, newMs = size > 0, 15, 0, 0
    elseif newMs > endMs then
      needsRepair[p], newMs = true, endMs
      while size > 15 and unpackFields('>I6', counter, size - 9) > endMs do
        newUnits, size = newUnits + unpackFields('>I4', counter, size - 3), size - 10
      end
    end
    if newMs <= goneMs then size, sum, newMs = 15, 0, 0 end
    while from < size and oldMs <= goneMs do
      sum, from = sum - oldUnits, from + 10
      if from < size then oldMs, oldUnits = unpackFields('>I6I4', counter, from) end
    end
    storedText[p], used[p], first[p], last[p], newest[p], newestUnits[p], oldest[p] = counter, sum, from, size, newMs, newUnits, from < size and oldMs or newMs
    return quota - sum
  end

  function policy.write (p, taken, key)
    local from, size, units, others, sum = first[p], last[p], newestUnits[p], '', used[p] + taken
    if newest[p] == endMs and from == 16 and not needsRepair[p] and taken > 0 then
      newestUnits[p], counters[key] = units + taken, true
      return call('SETRANGE', key, '1', pack('>I4I6I4', sum, endMs, units + taken)) -- the previous expiry is late enough
    end
    if from < size then others = sub(storedText[p], from, size) end
    if newest[p] == endMs then
      units = units + taken
    elseif taken > 0 then
      if newest[p] > 0 then others = others .. sub(storedText[p], 6, 15) else oldest[p] = endMs end
      newest[p], units = endMs, taken
    end
    if newest[p] == 0 then return call('DEL', key) end
    local counter = 's' .. pack('>I4I6I4', sum, newest[p], units) .. others
    storedText[p], first[p], last[p], newestUnits[p], counters[key] = counter, 16, #counter, units, counter
    call('SET', key, counter, 'PX', lifeText)
  end

  function policy.wait (p, lacking)
    local resetMs, retryMs = newest[p] > 0 and oldest[p] + waitMs or 0, 0
    if lacking <= 0 then return resetMs, 0 end
    if policy.cost > quota then return resetMs, policy.windowMs end
    for from = first[p], last[p] - 9, 10 do
      local bucketMs, units = unpackFields('>I6I4', storedText[p], from)
      lacking, retryMs = lacking - units, bucketMs + waitMs
      if lacking <= 0 then return resetMs, retryMs end
    end
    return resetMs, newest[p] > 0 and newest[p] + waitMs or 0
  end
end

-- 'g': the time in µs at which the whole burst is available again (d).
local function gcra (policy)
  local intervalUs = ceil(policy.windowMs * 1000 / policy.quota)
  local burstUs = policy.bucketOrBurst * intervalUs

  function policy.read (p, counter)
    local isKnown = #counter == 9 and byte(counter) == 103
    local freeUs = isKnown and unpackFields('>d', counter, 2) or nowUs
    needsRepair[p] = (not isKnown and #counter > 0) or freeUs > nowUs + burstUs
    used[p] = max(0, math.min(freeUs - nowUs, burstUs))
    return floor((burstUs - used[p]) / intervalUs)
  end

  function policy.write (p, taken, key)
    used[p] = used[p] + taken * intervalUs
    put(key, used[p] > 0 and 'g' .. pack('>d', nowUs + used[p]), ceil(used[p] / 1000))
  end

  function policy.wait (p)
    local resetUs = used[p] - max(0, ceil(used[p] / intervalUs) - 1) * intervalUs
    return ceil(resetUs / 1000), max(0, ceil((used[p] + policy.cost * intervalUs - burstUs) / 1000))
  end
end

-- 'f': end of the window in ms (I6), units used in it (I4).
local function fixed (policy)
  local endMs = (floor(nowMs / policy.windowMs) + 1) * policy.windowMs
  local lifeMs = endMs - nowMs

  function policy.read (p, counter)
    local isKnown, untilMs, units = #counter == 11 and byte(counter) == 102, 0, 0
    if isKnown then untilMs, units = unpackFields('>I6I4', counter, 2) end
    needsRepair[p] = (not isKnown and #counter > 0) or untilMs > endMs
    used[p] = untilMs >= endMs and units or 0
    return policy.quota - used[p]
  end

  function policy.write (p, taken, key)
    used[p] = used[p] + taken
    put(key, used[p] > 0 and 'f' .. pack('>I6I4', endMs, used[p]), lifeMs)
  end

  function policy.wait (p, lacking)
    return used[p] > 0 and lifeMs or 0, lacking > 0 and lifeMs or 0
  end
end

-- 'p': sorted set of leases by expiry in ms; requests in progress renew theirs. When a slot is released is unknown.
local lease = ''
local function concurrency (policy)
  local endMs = nowMs + policy.windowMs
  local endText, lifeText, unknownMs = text(endMs), text(policy.windowMs), 1000

  -- Leases that expire later than a new one are left over from before the clock was set back, and do not count.
  function policy.read (p, _, key)
    local held = redis.pcall('ZCOUNT', key, '(' .. text(nowMs), endText)
    needsRepair[p] = type(held) == 'table'
    used[p] = needsRepair[p] and 0 or held
    return policy.quota - used[p]
  end

  function policy.write (p, taken, key)
    if needsRepair[p] then
      counters[key] = false
      call('DEL', key)
    end
    if taken == 0 then return end
    local hasEnded = call('ZCARD', key) > used[p]
    -- Add before removing: while a Cluster migrates the hash slot, a key that became empty must not be touched again.
    for index = 1, taken do call('ZADD', key, endText, lease .. '.' .. text(index)) end
    if hasEnded then
      call('ZREMRANGEBYSCORE', key, '-inf', text(nowMs))
      call('ZREMRANGEBYSCORE', key, '(' .. endText, '+inf')
    end
    call('PEXPIRE', key, lifeText)
  end

  function policy.wait (_, lacking)
    return 0, lacking > 0 and unknownMs or 0
  end
end

local algorithms, policies = { s = sliding, g = gcra, f = fixed, p = concurrency }, {}
local function policyOf (quotaText)
  local tag, quota, windowMs, bucketOrBurst, cost = match(quotaText, '^(%a) (%d+) (%d+) (%d+) (%d+)$')
  local policy = { quota = tonumber(quota), windowMs = tonumber(windowMs), bucketOrBurst = tonumber(bucketOrBurst), cost = tonumber(cost) }
  algorithms[tag](policy)
  policies[quotaText] = policy
  return policy
end

local function isLive (key, devices)
  for device in string.gmatch(devices, '%S+') do
    local value = redis.pcall('HGET', key, device)
    if type(value) == 'string' then
      local absoluteEnd, idleEnd = match(value, '^%d+ %d+ %d+ (%d+) %d+ (%d+) ')
      return idleEnd ~= nil and nowMs < tonumber(absoluteEnd) and nowMs < tonumber(idleEnd)
    end
  end
  return false
end

-- each operation
local requested, deadlineMs, policyCount, extra = number(ARGV[1]), number(ARGV[2]), #KEYS, ARGV[#ARGV]
if deadlineMs > 0 and nowMs > deadlineMs then return '-1' .. nowText end
if byte(extra) == 105 then
  lease, extra = sub(extra, 3), ARGV[#ARGV - 1]
end
if byte(extra) == 108 then
  if not isLive(KEYS[policyCount], sub(extra, 3)) then return '-2' .. nowText end
  policyCount = policyCount - 1
end

local granted = requested
for p = 1, policyCount do
  local key, policy = KEYS[p], policies[ARGV[p + 2]] or policyOf(ARGV[p + 2])
  local counter, cost = counters[key], policy.cost
  if counter == true then counter = call('GET', key) end
  appliedPolicies[p], needsRepair[p] = policy, false
  local free = policy.read(p, counter or '', key)
  freeUnits[p], isStored[p] = free, counter
  if cost * granted > free then granted = max(0, floor(free / cost)) end
end

local reply = granted == 1 and oneText or text(granted) .. nowText
for p = 1, policyCount do
  local key, policy = KEYS[p], appliedPolicies[p]
  local cost = policy.cost
  local taken = granted * cost
  if taken > 0 or (requested > 0 and isStored[p] and (needsRepair[p] or call('PTTL', key) < 0)) then policy.write(p, taken, key) end
  local free = freeUnits[p] - taken
  local resetMs, retryMs = policy.wait(p, cost - free)
  reply = reply .. ' ' .. (texts[free] or text(max(0, free))) .. ' ' .. (texts[resetMs] or text(resetMs)) .. ' ' .. (texts[retryMs] or text(retryMs))
end
return reply
