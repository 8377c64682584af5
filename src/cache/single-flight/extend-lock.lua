-- Renews a lock that is still the caller's.
-- KEYS[1]  lock        see lock.lua
-- ARGV[1]  holder      what the caller set it to
-- ARGV[2]  lifetimeMs
-- returns  1 renewed, 0 lost
local holder = redis.call('GET', KEYS[1])
if holder ~= ARGV[1] and holder ~= ARGV[1] .. '!' then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
