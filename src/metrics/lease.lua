-- Acquires or renews the lease of the process that collects Redis metrics.
-- Only the holder can renew it; another process acquires it after it has expired.
-- KEYS[1]  lease       string, name of the holder
-- ARGV[1]  name
-- ARGV[2]  lifetimeMs
-- returns  1 the caller holds the lease, 0 another process holds it
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
