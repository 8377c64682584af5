-- Reads what a topic's log holds after a position, and renews its lifetime. A log that is not there begins here.
-- KEYS[1]  log         stream
-- ARGV[1]  from        an id; '' for none: only the last id is wanted
-- ARGV[2]  count       entries at most
-- ARGV[3]  lifetimeMs
-- ARGV[4]  sequence    by chance: ids of two lives of a log never meet
-- returns  { last id, rows read, id, prev, rest, id, prev, rest, … }
local log, from, count, lifetimeMs, sequence = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4]

local last = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
local lastId = last and last[1]
if not lastId then
  local next = '*'
  if redis.call('EXISTS', log) == 0 then next = string.format('%.0f-%s', nowMs, sequence) end
  -- A position to wait at: without it nobody could tell whether events came and went with the log meanwhile.
  lastId = redis.call('XADD', log, next, 'begin', '')
end
redis.call('PEXPIRE', log, lifetimeMs)
if from == '' or from == lastId then return { lastId, 0 } end

local rows = redis.call('XRANGE', log, '(' .. from, '+', 'COUNT', count)
local reply = { lastId, #rows }
for _, row in ipairs(rows) do
  local fields = row[2]
  if fields[1] == 'prev' then
    reply[#reply + 1] = row[1]
    reply[#reply + 1] = fields[2]
    reply[#reply + 1] = fields[4]
  end
end
return reply
