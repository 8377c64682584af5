-- Reads what a topic's log holds after a position, and renews its lifetime. A log that is not there begins here.
-- KEYS[1]  log         stream
-- ARGV[1]  from        an id; '' for none: only the last id is wanted
-- ARGV[2]  rowsAtMost
-- ARGV[3]  bytesAtMost or somewhat more
-- ARGV[4]  lifetimeMs
-- ARGV[5]  sequence    by chance: ids of two lives of a log never meet
-- returns  { last id, 1 when there may be more, id, prev, rest, id, prev, rest, … }
local log, from, rowsAtMost, bytesAtMost, lifetimeMs, sequence = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4], ARGV[5]

local last = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
local lastId = last and last[1]
if not lastId then
  local next = '*'
  if redis.call('EXISTS', log) == 0 then next = string.format('%.0f-%s', nowMs, sequence) end
  -- A position to wait at: without it nobody could tell whether events came and went with the log meanwhile.
  lastId = redis.call('XADD', log, next, 'begin', '')
end
redis.call('PEXPIRE', log, lifetimeMs)
if from == '' then return { lastId, 0 } end

local reply, rows, bytes = { lastId, 0 }, 0, 0
while from ~= lastId do
  if rows >= rowsAtMost or bytes >= bytesAtMost then
    reply[2] = 1
    break
  end
  local some = redis.call('XRANGE', log, '(' .. from, '+', 'COUNT', 8)
  if #some == 0 then break end
  for _, row in ipairs(some) do
    local fields = row[2]
    -- Others may write here too: what is not ours shows as a gap.
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
