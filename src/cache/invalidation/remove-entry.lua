-- Removes a stored answer, unless another one was stored under its key since it was read.
-- KEYS[1]  entry     string
-- ARGV[1]  first     of the bytes that tell one answer from the next, see entry.ts
-- ARGV[2]  last      of them
-- ARGV[3]  identity  those bytes, as they were read
-- returns  1 removed, 0 not
local identity = redis.pcall('GETRANGE', KEYS[1], ARGV[1], ARGV[2])
if type(identity) ~= 'string' or identity ~= ARGV[3] then return 0 end
return redis.call('UNLINK', KEYS[1])
