-- Extends a lock if the caller still holds it.
-- KEYS[1]  lock        see acquire-lock.lua
-- ARGV[1]  holder      the value that the caller set
-- ARGV[2]  lockTtlMs
-- reply    1 extended, 0 not held
local holder = redis.call('GET', KEYS[1])
if holder ~= ARGV[1] and holder ~= ARGV[1] .. '!' then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
