-- Acquires the lock of a cache fill, unless a holder's result is recent enough for the caller, or the entry has changed since the caller's lookup.
-- KEYS[1]   lock        string: '<sequence> <token>' of the holder, with '!' appended if another process waits for a message about it;
--                       or 'pass', for a time after a response that must not be shared
-- KEYS[2]   entry       string, compared with ARGV[4]
-- KEYS[3]   sequence    string; omitted in a Cluster, where the sequence and the tag versions were read before
-- KEYS[4..] versions    strings, of tags whose version was missing at lookup: set by the current holder, otherwise set here
-- ARGV[1]   token
-- ARGV[2]   lockTtlMs
-- ARGV[3]   minSequence a holder must have started at this sequence or later, and not before the tag versions; '' for the current sequence.
--                       A current sequence below it was lost and restored, because a purge never sets a version above the sequence: raise it,
--                       to Redis's clock at least, so that the versions set here are above those of entries whose purge was lost with the version
-- ARGV[4]   prefix      first 48 bytes of the entry at lookup; '' for none
-- ARGV[5]   versionTtlMs
-- ARGV[6]   waitTtlMs   a caller that will wait: the lock expires by then unless its holder renews it; '' for a caller that will not
-- ARGV[7]   seen        highest sequence that the caller knows: a lower one is raised, too
-- ARGV[8]   sequence    if KEYS[3] is omitted
-- reply     { taken | held | pass | changed, sequence, remaining TTL of the lock in ms, previous sequence if it was raised };
--           false if the sequence is not known
local sequence = KEYS[3] and redis.call('GET', KEYS[3]) or ARGV[8]
if not sequence then return false end
local required = tonumber(ARGV[3] == '' and sequence or ARGV[3])
local before
-- A waiter that timed out passes 1e300: no holder is recent enough, and the sequence is not raised.
local known = math.max(required < 1e200 and required or 0, tonumber(ARGV[7]))
if KEYS[3] and known > tonumber(sequence) then
  local clock = redis.call('TIME')
  before, sequence = sequence, string.format('%.0f', math.max(known, clock[1] * 1000000 + clock[2]))
  redis.call('SET', KEYS[3], sequence, 'PX', ARGV[5])
end
for i = 4, #KEYS do
  redis.call('SET', KEYS[i], sequence, 'PX', ARGV[5], 'NX')
  local marker = redis.pcall('GET', KEYS[i])
  for number in string.gmatch(type(marker) == 'string' and marker or sequence, '%d+') do required = math.max(required, tonumber(number)) end
end
local holder = redis.call('GET', KEYS[1])
if holder == 'pass' then return { 'pass', sequence, redis.call('PTTL', KEYS[1]) } end
local mark = holder and string.match(holder, '!$') or ''
if holder and tonumber(string.match(holder, '^%d+') or 0) >= required then
  if ARGV[6] ~= '' then
    if mark == '' then redis.call('APPEND', KEYS[1], '!') end
    if redis.call('PTTL', KEYS[1]) > tonumber(ARGV[6]) then redis.call('PEXPIRE', KEYS[1], ARGV[6]) end
  end
  return { 'held', sequence, redis.call('PTTL', KEYS[1]) }
end
local entry = redis.pcall('GETRANGE', KEYS[2], 0, 47)
if type(entry) == 'table' then entry = '' end
if entry ~= ARGV[4] then return { 'changed', sequence, 0 } end
-- Keep '!': processes that wait for the previous holder are notified about this one.
redis.call('SET', KEYS[1], sequence .. ' ' .. ARGV[1] .. mark, 'PX', ARGV[2])
return { 'taken', sequence, ARGV[2], before }
