-- Takes units from every policy of one request, or from none; identical requests of one moment ask together.
-- KEYS[p]   counter of policy p   string, tagged by its algorithm, expires when it says nothing any more
-- ARGV[1]   asked                 how many identical requests ask; as many as fit are granted
-- ARGV[2+]  algorithm, quota, windowMs, grain (sliding: bucket in ms; gcra: burst), cost: five for each policy
-- returns   { granted, then for each policy: remaining, resetMs (until more comes), retryMs (until one more fits, 0 now) }
-- A clock that was set back finds counts from the future: they count as of now, so nobody waits longer than a window.
local asked, granted, states = tonumber(ARGV[1]), tonumber(ARGV[1]), {}
local nowUs = time[1] * 1000000 + time[2]

for p = 1, #KEYS do
  local at = p * 5 - 3
  local algorithm = ARGV[at]
  local quota, windowMs, grain, cost = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  local packed = redis.pcall('GET', KEYS[p])
  if type(packed) == 'table' then
    if not string.find(packed.err, 'WRONGTYPE', 1, true) then error(packed) end
    packed = false
  end
  local isKnown = packed and string.sub(packed, 1, 1) == algorithm
  local state = { algorithm = algorithm, quota = quota, windowMs = windowMs, cost = cost, isStored = packed, isHealed = packed and not isKnown }
  states[p] = state

  if algorithm == 's' then
    -- After the tag: units used (I4), then the buckets in order, each the ms it ends at (I6) and its units (I4).
    state.endMs = (math.floor(nowMs / grain) + 1) * grain
    local used, first, last = 0, 6, 6
    if isKnown and #packed >= 15 and (#packed - 5) % 10 == 0 then
      used, last = struct.unpack('>I4', packed, 2), #packed + 1
      if struct.unpack('>I6', packed, last - 10) > state.endMs then
        local future, units, sum = first, 0, 0
        while struct.unpack('>I6', packed, future) <= state.endMs do future = future + 10 end
        for i = future, last - 10, 10 do sum = sum + struct.unpack('>I4', packed, i + 6) end
        packed = string.sub(packed, 1, future - 1) .. struct.pack('>I6I4', state.endMs, sum)
        last, state.isHealed = #packed + 1, true
      end
      while first < last do
        local endMs, units = struct.unpack('>I6I4', packed, first)
        if endMs + windowMs > nowMs then break end
        used, first = used - units, first + 10
      end
    end
    state.used, state.first, state.last, state.packed = used, first, last, packed
    state.free = quota - used
  elseif algorithm == 'g' then
    -- After the tag: the moment, in µs, at which the whole burst is free again.
    local intervalUs = math.ceil(windowMs * 1000 / quota)
    local burstUs = grain * intervalUs
    local tat = isKnown and #packed == 9 and struct.unpack('>d', packed, 2) or nowUs
    if tat < nowUs then tat = nowUs end
    if tat > nowUs + burstUs then tat, state.isHealed = nowUs + burstUs, true end
    state.tat, state.intervalUs, state.burstUs = tat, intervalUs, burstUs
    state.free = math.floor((nowUs + burstUs - tat) / intervalUs)
  else
    -- After the tag: the ms at which the window ends (I6), units used in it (I4).
    state.endMs = (math.floor(nowMs / windowMs) + 1) * windowMs
    local endMs, used = 0, 0
    if isKnown and #packed == 11 then endMs, used = struct.unpack('>I6I4', packed, 2) end
    if endMs < state.endMs then used = 0 elseif endMs > state.endMs then state.isHealed = true end
    state.used, state.free = used, quota - used
  end
  granted = math.min(granted, cost == 0 and asked or math.floor(state.free / cost))
end
if granted < 0 then granted = 0 end

local answer = { granted }
for p = 1, #KEYS do
  local state = states[p]
  local taken = granted * state.cost
  -- A refusal writes nothing, but for a counter that is not as it should be: without an end, or from another time.
  local writes = taken > 0 or (state.isStored and (state.isHealed or redis.call('PTTL', KEYS[p]) < 0))
  local free, value, lifeMs, resetMs, retryMs = state.free - taken, nil, 0, 0, 0
  local lacking = state.cost - free

  if state.algorithm == 's' then
    local body, bodyEnd = '', state.last
    if taken > 0 then
      local units = taken
      if state.last > state.first then
        local endMs, lastUnits = struct.unpack('>I6I4', state.packed, state.last - 10)
        if endMs == state.endMs then units, bodyEnd = units + lastUnits, state.last - 10 end
      end
      body = struct.pack('>I6I4', state.endMs, units)
    end
    if state.last > 6 then body = string.sub(state.packed, state.first, bodyEnd - 1) .. body end
    lifeMs = state.endMs + state.windowMs - nowMs
    value = writes and #body > 0 and struct.pack('>c1I4', 's', state.used + taken) .. body
    if #body > 0 then resetMs = struct.unpack('>I6', body) + state.windowMs - nowMs end
    if lacking > 0 then
      retryMs = state.windowMs
      for i = 1, #body, 10 do
        local endMs, units = struct.unpack('>I6I4', body, i)
        lacking, retryMs = lacking - units, endMs + state.windowMs - nowMs
        if lacking <= 0 then break end
      end
    end
  elseif state.algorithm == 'g' then
    local tat = state.tat + taken * state.intervalUs
    lifeMs = math.ceil((tat - nowUs) / 1000)
    value = writes and lifeMs > 0 and struct.pack('>c1d', 'g', tat)
    local usedUs = tat - nowUs
    resetMs = math.ceil((usedUs - math.floor((usedUs - 1) / state.intervalUs) * state.intervalUs) / 1000)
    if usedUs <= 0 then resetMs = 0 end
    retryMs = math.max(0, math.ceil((usedUs + state.cost * state.intervalUs - state.burstUs) / 1000))
  else
    lifeMs = state.endMs - nowMs
    value = writes and state.used + taken > 0 and struct.pack('>c1I6I4', 'f', state.endMs, state.used + taken)
    resetMs = state.used + taken > 0 and lifeMs or 0
    retryMs = lacking > 0 and lifeMs or 0
  end

  if value then redis.call('SET', KEYS[p], value, 'PX', lifeMs) elseif writes then redis.call('DEL', KEYS[p]) end
  local i = p * 3
  answer[i - 1], answer[i], answer[i + 1] = math.max(0, free), resetMs, retryMs
end
return answer
