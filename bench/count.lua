-- Counts one up: a write, so that a server which takes none is noticed.
-- KEYS[1]  counter     string
-- ARGV[1]  lifetimeMs
-- returns  the count
local count = redis.call('INCR', KEYS[1])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return count
