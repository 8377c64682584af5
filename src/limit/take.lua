-- Takes units from every policy of one request, or from none; identical requests of one moment ask together.
-- KEYS[p]    counter of policy p  string, tagged by its algorithm, expires when it says nothing any more
-- KEYS[p+1]  session              perhaps: hash, as session/load.lua reads it; without a live one nothing is taken
-- ARGV[1]    asked                how many identical requests ask; as many as fit are granted; 0 only looks
-- ARGV[2]    deadlineMs           by Redis's clock; who is read later has given up, and is not counted; 0 for none
-- ARGV[2+p]  terms of policy p    'algorithm quota windowMs grain cost'; grain: ms a bucket (sliding) or the burst (gcra)
-- ARGV[3+p]  device               'l' and the session's fields, the first that is there counts
-- returns    'granted nowMs', then for each policy ' remaining resetMs retryMs': until more comes, until one more fits
--            granted -1: too late; -2: no such session
-- A refusal only reads, unless a counter has no end or comes from the future: after a clock was set back it counts as of now.
local call, sub, pack, unpack, floor, ceil, max, min = redis.call, string.sub, struct.pack, struct.unpack, math.floor, math.ceil, math.max, math.min
local nowUs = time[1] * 1000000 + time[2]
-- Of the ask under way, by policy; kept between asks to spare the making.
local counters, isStored, isHealed, frees, used, first, last = {}, {}, {}, {}, {}, {}, {}

-- 's': units used (I4), then the buckets in order, each with the ms it ends at (I6) and its units (I4). No bucket leaves before all of it is a window old.
local sliding = {}

function sliding.prepare (policy)
  policy.endMs = (floor(nowMs / policy.grain) + 1) * policy.grain
  policy.lifeMs = policy.endMs + policy.windowMs - nowMs
end

function sliding.read (policy, p, counter)
  local sum, from, to, goneMs = 0, 6, 6, nowMs - policy.windowMs
  if counter and #counter > 14 and #counter % 10 == 5 then
    sum, to = unpack('>I4', counter, 2), #counter + 1
    if unpack('>I6', counter, to - 10) > policy.endMs then
      local future, units = to - 10, 0
      while future >= 6 and unpack('>I6', counter, future) > policy.endMs do
        units, future = units + unpack('>I4', counter, future + 6), future - 10
      end
      counter = sub(counter, 1, future + 9) .. pack('>I6I4', policy.endMs, units)
      to, isHealed[p] = #counter + 1, true
    end
    while from < to do
      local endMs, units = unpack('>I6I4', counter, from)
      if endMs > goneMs then break end
      sum, from = sum - units, from + 10
    end
  end
  counters[p], used[p], first[p], last[p] = counter, sum, from, to
  return policy.quota - sum
end

function sliding.write (policy, p, taken)
  local to, units = last[p], taken
  if to > first[p] and taken > 0 then
    local endMs, others = unpack('>I6I4', counters[p], to - 10)
    if endMs == policy.endMs then units, to = units + others, to - 10 end
  end
  local kept = to > first[p] and sub(counters[p], first[p], to - 1) or ''
  if taken > 0 then kept = kept .. pack('>I6I4', policy.endMs, units) end
  counters[p], used[p], first[p], last[p] = kept, used[p] + taken, 1, #kept + 1
  return #kept > 0 and 's' .. pack('>I4', used[p]) .. kept
end

function sliding.wait (policy, p, lacking)
  local resetMs, retryMs, waitMs = 0, 0, policy.windowMs - nowMs
  if first[p] < last[p] then resetMs = unpack('>I6', counters[p], first[p]) + waitMs end
  if policy.cost > policy.quota then return resetMs, policy.windowMs end
  for from = first[p], last[p] - 10, 10 do
    if lacking <= 0 then break end
    local endMs, units = unpack('>I6I4', counters[p], from)
    lacking, retryMs = lacking - units, endMs + waitMs
  end
  return resetMs, retryMs
end

-- 'g': the moment, in µs, at which the whole burst is free again (d).
local gcra = {}

function gcra.prepare (policy)
  policy.intervalUs = ceil(policy.windowMs * 1000 / policy.quota)
  policy.burstUs = policy.grain * policy.intervalUs
end

function gcra.read (policy, p, counter)
  local freeUs = counter and #counter == 9 and unpack('>d', counter, 2) or nowUs
  if freeUs > nowUs + policy.burstUs then freeUs, isHealed[p] = nowUs + policy.burstUs, true end
  used[p] = max(0, freeUs - nowUs)
  return floor((policy.burstUs - used[p]) / policy.intervalUs)
end

function gcra.write (policy, p, taken)
  used[p] = used[p] + taken * policy.intervalUs
  policy.lifeMs = ceil(used[p] / 1000)
  return used[p] > 0 and 'g' .. pack('>d', nowUs + used[p])
end

function gcra.wait (policy, p)
  local resetUs = used[p] - max(0, ceil(used[p] / policy.intervalUs) - 1) * policy.intervalUs
  return ceil(resetUs / 1000), max(0, ceil((used[p] + policy.cost * policy.intervalUs - policy.burstUs) / 1000))
end

-- 'f': the ms at which the window ends (I6), units used in it (I4).
local fixed = {}

function fixed.prepare (policy)
  policy.endMs = (floor(nowMs / policy.windowMs) + 1) * policy.windowMs
  policy.lifeMs = policy.endMs - nowMs
end

function fixed.read (policy, p, counter)
  local endMs, units = 0, 0
  if counter and #counter == 11 then endMs, units = unpack('>I6I4', counter, 2) end
  isHealed[p] = isHealed[p] or endMs > policy.endMs
  used[p] = endMs >= policy.endMs and units or 0
  return policy.quota - used[p]
end

function fixed.write (policy, p, taken)
  used[p] = used[p] + taken
  return used[p] > 0 and 'f' .. pack('>I6I4', policy.endMs, used[p])
end

function fixed.wait (policy, p, lacking)
  return used[p] > 0 and policy.lifeMs or 0, lacking > 0 and policy.lifeMs or 0
end

local algorithms = { s = sliding, g = gcra, f = fixed }

local known = {}
local function policyOf (terms)
  if known[terms] then return known[terms] end
  local tag, quota, windowMs, grain, cost = string.match(terms, '^(%a) (%d+) (%d+) (%d+) (%d+)$')
  local policy = { tag = tag, algorithm = algorithms[tag], quota = tonumber(quota), windowMs = tonumber(windowMs), grain = tonumber(grain), cost = tonumber(cost) }
  policy.algorithm.prepare(policy)
  known[terms] = policy
  return policy
end

local function read (policy, p, key)
  local counter = redis.pcall('GET', key)
  if type(counter) == 'table' then
    if not string.find(counter.err, 'WRONGTYPE', 1, true) then error(counter) end
    counter = false
  end
  isStored[p], isHealed[p] = counter, false
  if counter and sub(counter, 1, 1) ~= policy.tag then counter, isHealed[p] = false, true end
  frees[p] = policy.algorithm.read(policy, p, counter)
  return frees[p]
end

local function isLive (key, devices)
  for device in string.gmatch(devices, '%S+') do
    local value = redis.pcall('HGET', key, device)
    if type(value) == 'string' then
      local absoluteEnd, idleEnd = string.match(value, '^%d+ %d+ (%d+) %d+ (%d+) ')
      return idleEnd ~= nil and nowMs < tonumber(absoluteEnd) and nowMs < tonumber(idleEnd)
    end
  end
  return false
end

-- each ask
local asked, deadlineMs, policyCount = tonumber(ARGV[1]), tonumber(ARGV[2]), #KEYS
if deadlineMs > 0 and nowMs > deadlineMs then return '-1 ' .. nowMs end
if sub(ARGV[#ARGV], 1, 2) == 'l ' then
  if not isLive(KEYS[policyCount], sub(ARGV[#ARGV], 3)) then return '-2 ' .. nowMs end
  policyCount = policyCount - 1
end

local granted = asked
for p = 1, policyCount do
  local policy = policyOf(ARGV[p + 2])
  local free = read(policy, p, KEYS[p])
  if policy.cost > 0 then granted = min(granted, max(0, floor(free / policy.cost))) end
end

local answer = { granted, nowMs }
for p = 1, policyCount do
  local policy = policyOf(ARGV[p + 2])
  local taken = granted * policy.cost
  if taken > 0 or (asked > 0 and isStored[p] and (isHealed[p] or call('PTTL', KEYS[p]) < 0)) then
    local counter = policy.algorithm.write(policy, p, taken)
    if counter then call('SET', KEYS[p], counter, 'PX', policy.lifeMs) else call('DEL', KEYS[p]) end
  end
  local free = frees[p] - taken
  local resetMs, retryMs = policy.algorithm.wait(policy, p, policy.cost - free)
  answer[p * 3], answer[p * 3 + 1], answer[p * 3 + 2] = max(0, free), resetMs, retryMs
end
-- One text, not many numbers: reading a reply costs by its elements.
return table.concat(answer, ' ')
