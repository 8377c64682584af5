-- Keeps the places of requests under way, which else end by themselves; puts back what Redis has lost.
-- KEYS[1]  places      sorted set, lease by the ms it ends at; expires with the last
-- ARGV[1]  leaseMs
-- ARGV[2]  deadlineMs  by Redis's clock; what is read later is not heeded, for the places may have been given back since; 0 for none
-- ARGV[3…] leases
-- returns  1; 0 when it was read too late
local deadlineMs, endMs = tonumber(ARGV[2]), string.format('%d', nowMs + tonumber(ARGV[1]))
if deadlineMs > 0 and nowMs > deadlineMs then return 0 end
if redis.call('TYPE', KEYS[1]).ok ~= 'zset' then redis.call('DEL', KEYS[1]) end
for i = 3, #ARGV do redis.call('ZADD', KEYS[1], endMs, ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
