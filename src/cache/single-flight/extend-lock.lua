-- Extends a lock if the caller still holds it.
-- KEYS[1]  lock        see acquire-lock.lua
-- ARGV[1]  holder      the value that the caller set
-- ARGV[2]  lockTtlMs
-- ARGV[3]  waitTtlMs   instead, if another process waits: it must not wait long for a killed process
-- reply    1 extended, 0 not held
local holder = redis.call('GET', KEYS[1])
if holder == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
if holder == ARGV[1] .. '!' then return redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
return 0
