-- Takes the lock of a fill, unless somebody holds it whose answer will do, or has filled since the caller looked.
-- KEYS[1]  lock        string: '<sequence> <token>' of who fills, or 'pass' for a while after an answer that may not be kept
-- KEYS[2]  entry       string, compared with what the caller saw
-- KEYS[3]  sequence    string; in a Cluster it lies elsewhere and was read before
-- ARGV[1]  token
-- ARGV[2]  lifetimeMs
-- ARGV[3]  required    a holder must have begun at it, at least; '' for where the sequence stands now
-- ARGV[4]  seen        the entry's first 48 bytes, as the caller saw them; '' for none
-- ARGV[5]  sequence    where KEYS[3] is not given
-- returns  { taken | held | pass | changed, sequence, what the lock has left in ms }; false when the sequence is not known
local sequence = KEYS[3] and redis.call('GET', KEYS[3]) or ARGV[5]
if not sequence then return false end
local holder = redis.call('GET', KEYS[1])
if holder == 'pass' then return { 'pass', sequence, redis.call('PTTL', KEYS[1]) } end
local required = ARGV[3] == '' and sequence or ARGV[3]
if holder and tonumber(string.match(holder, '^%d+') or 0) >= tonumber(required) then
  return { 'held', sequence, redis.call('PTTL', KEYS[1]) }
end
local entry = redis.pcall('GETRANGE', KEYS[2], 0, 47)
if type(entry) == 'table' then entry = '' end
if entry ~= ARGV[4] then return { 'changed', sequence, 0 } end
redis.call('SET', KEYS[1], sequence .. ' ' .. ARGV[1], 'PX', ARGV[2])
return { 'taken', sequence, ARGV[2] }
