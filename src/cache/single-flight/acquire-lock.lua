-- Takes the lock of a fill, unless somebody holds it whose answer will do, or has filled since the caller looked.
-- KEYS[1]   lock        string: '<sequence> <token>' of who fills, then '!' where somebody waits for word of him; or 'pass' for a while
--                       after an answer that may not be kept
-- KEYS[2]   entry       string, compared with what the caller saw
-- KEYS[3]   sequence    string; in a Cluster it and the markers lie elsewhere and were read before
-- KEYS[4…]  markers     strings, of tags whose markers the caller found missing: whoever fills has set them, else they are set now
-- ARGV[1]   token
-- ARGV[2]   lifetimeMs
-- ARGV[3]   required    a holder must have begun at it, at least, and at the markers; '' for where the sequence stands now
--                       a sequence below it was set back, for no purge leaves a marker above the sequence: it is raised to it
-- ARGV[4]   seen        the entry's first 48 bytes, as the caller saw them; '' for none
-- ARGV[5]   markerLifetimeMs
-- ARGV[6]   sequence    where KEYS[3] is not given
-- returns   { taken | held | pass | changed, sequence, what the lock has left in ms, where a sequence that was raised stood }; false when the sequence is not known
local sequence = KEYS[3] and redis.call('GET', KEYS[3]) or ARGV[6]
if not sequence then return false end
local required = tonumber(ARGV[3] == '' and sequence or ARGV[3])
local before
-- Who is out of patience requires more than any sequence.
if KEYS[3] and required > tonumber(sequence) and required < 1e200 then
  before, sequence = sequence, ARGV[3]
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
  if mark == '' then redis.call('APPEND', KEYS[1], '!') end
  return { 'held', sequence, redis.call('PTTL', KEYS[1]) }
end
local entry = redis.pcall('GETRANGE', KEYS[2], 0, 47)
if type(entry) == 'table' then entry = '' end
if entry ~= ARGV[4] then return { 'changed', sequence, 0 } end
-- Who waits for the old one hears of this one too.
redis.call('SET', KEYS[1], sequence .. ' ' .. ARGV[1] .. mark, 'PX', ARGV[2])
return { 'taken', sequence, ARGV[2], before }
