-- Removes an entry, unless another one was stored under its key since it was read.
-- KEYS[1]  entry     string
-- ARGV[1]  first     offset of the first byte of the entry's identity, see entry-codec.ts
-- ARGV[2]  last      offset of the last byte
-- ARGV[3]  identity  the identity bytes that were read
-- returns  1 if removed, else 0
local identity = redis.pcall('GETRANGE', KEYS[1], ARGV[1], ARGV[2])
if type(identity) ~= 'string' or identity ~= ARGV[3] then return 0 end
return redis.call('UNLINK', KEYS[1])
