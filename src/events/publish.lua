-- Appends an event to a topic's log and publishes it. The event names its predecessor.
-- KEYS[1]  log         stream
-- ARGV[1]  channel
-- ARGV[2]  rest        the envelope's text after "id" and "prev"
-- ARGV[3]  count       entries that the log retains; trimming is approximate
-- ARGV[4]  retainMs
-- ARGV[5]  sequence    random: a log that is created again never repeats an ID of its predecessor
-- returns  the event's ID
local log, channel, rest, count, retainMs, sequence = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]

local last = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
local prev = last and last[1] or ''
local next = '*'
if not last and redis.call('EXISTS', log) == 0 then
  local now = redis.call('TIME')
  next = string.format('%s%03d-%s', now[1], math.floor(now[2] / 1000), sequence)
end

local id = redis.call('XADD', log, 'MAXLEN', '~', count, next, 'prev', prev, 'rest', rest)
redis.call('PEXPIRE', log, retainMs)
-- Built as text: cjson would turn [] into {} and round large numbers.
redis.call('PUBLISH', channel, '{"specversion":"1.0","id":"' .. id .. '","prev":"' .. prev .. '",' .. rest)
return id
