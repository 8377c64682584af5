-- Says who looks after Redis's figures: whoever holds the lease renews it, and only when it is free another one takes it.
-- KEYS[1]  lease       string, the holder's name
-- ARGV[1]  name
-- ARGV[2]  lifetimeMs
-- returns  1 it is the caller, 0 it is another
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
