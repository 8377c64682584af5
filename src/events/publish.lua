-- Appends an event to a topic's log and publishes it, naming the one before it.
-- KEYS[1]  log         stream
-- ARGV[1]  channel
-- ARGV[2]  rest        the envelope's text after "id" and "prev"
-- ARGV[3]  history     entries that are kept, or somewhat more
-- ARGV[4]  lifetimeMs
-- ARGV[5]  sequence    by chance: ids of two lives of a log never meet
-- returns  its id
local log, channel, rest, history, lifetimeMs, sequence = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]

local last = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
local prev = last and last[1] or ''
local next = '*'
if not last and redis.call('EXISTS', log) == 0 then next = string.format('%.0f-%s', nowMs, sequence) end

local id = redis.call('XADD', log, 'MAXLEN', '~', history, next, 'prev', prev, 'rest', rest)
redis.call('PEXPIRE', log, lifetimeMs)
-- Spliced as text: cjson would turn [] into {} and round large numbers.
redis.call('PUBLISH', channel, '{"specversion":"1.0","id":"' .. id .. '","prev":"' .. prev .. '",' .. rest)
return id
