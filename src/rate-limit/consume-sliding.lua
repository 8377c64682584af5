-- Consumes units of one sliding quota for many clients: the case of most requests, at half the cost of consume.lua, whose counters it shares.
-- KEYS[i]  counter of client i  string, see 's' in consume.lua; expires when it is empty
-- ARGV[1]  quota
-- ARGV[2]  windowMs
-- ARGV[3]  bucketMs    length of a bucket in ms
-- ARGV[4]  cost        units of one request
-- ARGV[5]  deadlineMs  by Redis's clock; afterwards the callers have timed out, and nothing is consumed; 0 for none
-- ARGV[6]  requested   '' if each client has one request; else the numbers of requests, separated by spaces
-- returns  nowMs (I6); then for each client granted (I4), remaining (I4), resetMs (I6), retryMs (I6). Only nowMs after the deadline.
--          granted 4294967295: not counted, because the counter has another form, lies in the future, has no expiry or cannot be written; see consume.lua
local pack, unpackFields, floor, call = struct.pack, struct.unpack, math.floor, redis.call
local time = call('TIME')
local nowMs = time[1] * 1000 + floor(time[2] / 1000)
local quota, windowMs, bucketMs, cost, deadlineMs = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
if deadlineMs > 0 and nowMs > deadlineMs then return pack('>I6', nowMs) end

local endMs, goneMs, waitMs = (floor(nowMs / bucketMs) + 1) * bucketMs, nowMs - windowMs, windowMs - nowMs
local lifeText = string.format('%d', endMs + waitMs)
local counters, replies, written, requested = call('MGET', unpack(KEYS)), { pack('>I6', nowMs) }, {}, {}
for number in string.gmatch(ARGV[6], '%d+') do requested[#requested + 1] = tonumber(number) end

-- State of a counter: units used; its text with the buckets that count, from `first` to `last`; end and units of the newest bucket; end of the oldest one.
local function read (counter)
  local size, first, tag, sum, newMs, newUnits, oldMs, oldUnits = #counter, 16
  if size == 15 then
    tag, sum, newMs, newUnits = unpackFields('>BI4I6I4', counter)
    oldMs = newMs
  elseif size > 15 and size % 10 == 5 then
    tag, sum, newMs, newUnits, oldMs, oldUnits = unpackFields('>BI4I6I4I6I4', counter)
  end
  if tag ~= 115 or newMs > endMs then return end
  if newMs <= goneMs then return 0, 16, 15, 0, 0, 0 end
  while first < size and oldMs <= goneMs do
    sum, first = sum - oldUnits, first + 10
    if first < size then oldMs, oldUnits = unpackFields('>I6I4', counter, first) end
  end
  return sum, first, size, newMs, newUnits, first < size and oldMs or newMs
end

-- ms until `lacking` more units are free
local function retryAfter (counter, first, last, newMs, lacking)
  if cost > quota then return windowMs end
  for from = first, last - 9, 10 do
    local bucketMs, units = unpackFields('>I6I4', counter, from)
    lacking = lacking - units
    if lacking <= 0 then return bucketMs + waitMs end
  end
  return newMs > 0 and newMs + waitMs or 0
end

local function hasWorked (reply)
  return type(reply) ~= 'table' or not reply.err
end

local unhandled = pack('>I4I4I6I6', 4294967295, 0, 0, 0)
for i = 1, #KEYS do
  local key = KEYS[i]
  local counter, reply = counters[i] or '', unhandled
  if written[key] then counter = call('GET', key) or '' end
  local sum, first, last, newMs, newUnits, oldMs
  if counter == '' then sum, first, last, newMs, newUnits, oldMs = 0, 16, 15, 0, 0, 0 else sum, first, last, newMs, newUnits, oldMs = read(counter) end
  if sum then
    local free, granted, isFine = quota - sum, requested[i] or 1, true
    if cost * granted > free then granted = math.max(0, floor(free / cost)) end
    local taken = granted * cost
    if taken == 0 then
      isFine = counter == '' or call('PTTL', key) >= 0
    elseif newMs == endMs and first == 16 then
      isFine = hasWorked(redis.pcall('SETRANGE', key, '1', pack('>I4I6I4', sum + taken, endMs, newUnits + taken)))
    else
      local others = first < last and string.sub(counter, first, last) or ''
      if newMs == endMs then
        newUnits = newUnits + taken
      else
        if newMs > 0 then others = others .. string.sub(counter, 6, 15) else oldMs = endMs end
        newUnits = taken
      end
      newMs = endMs
      counter = 's' .. pack('>I4I6I4', sum + taken, endMs, newUnits) .. others
      first, last = 16, #counter
      isFine = hasWorked(redis.pcall('SET', key, counter, 'PX', lifeText))
    end
    if isFine then
      written[key] = taken > 0
      free = free - taken
      reply = pack('>I4I4I6I6', granted, math.max(0, free), newMs > 0 and oldMs + waitMs or 0, free < cost and retryAfter(counter, first, last, newMs, cost - free) or 0)
    end
  end
  replies[i + 1] = reply
end
return table.concat(replies)
