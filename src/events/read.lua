-- Reads the entries of a topic's log after a position and renews the log's expiry. Creates the log if it does not exist.
-- KEYS[1]  log         stream
-- ARGV[1]  from        an event ID; '' returns the last ID only
-- ARGV[2]  maxRows
-- ARGV[3]  maxBytes    approximate
-- ARGV[4]  retainMs
-- ARGV[5]  sequence    random: a log that is created again never repeats an ID of its predecessor
-- returns  { last ID, 1 if there may be more, id, prev, rest, id, prev, rest, … }
local log, from, maxRows, maxBytes, retainMs, sequence = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4], ARGV[5]

local last = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
local lastId = last and last[1]
if not lastId then
  local next = '*'
  if redis.call('EXISTS', log) == 0 then next = string.format('%.0f-%s', nowMs, sequence) end
  -- Gives subscribers a position in an empty log. Without it, they could not detect that a log was created and expired in between.
  lastId = redis.call('XADD', log, next, 'begin', '')
end
redis.call('PEXPIRE', log, retainMs)
if from == '' then return { lastId, 0 } end

local reply, rows, bytes = { lastId, 0 }, 0, 0
while from ~= lastId do
  if rows >= maxRows or bytes >= maxBytes then
    reply[2] = 1
    break
  end
  local some = redis.call('XRANGE', log, '(' .. from, '+', 'COUNT', 8)
  if #some == 0 then break end
  for _, row in ipairs(some) do
    local fields = row[2]
    -- Another service may write to this stream. An entry in another format is skipped, and its successor shows a gap.
    if fields[1] == 'prev' and fields[3] == 'rest' then
      reply[#reply + 1] = row[1]
      reply[#reply + 1] = fields[2]
      reply[#reply + 1] = fields[4]
      bytes = bytes + #fields[4]
    end
    from = row[1]
  end
  rows = rows + #some
end
return reply
