-- Extends the leases of concurrency slots, and recreates slots that Redis has lost.
-- KEYS[1]  slots       sorted set of lease IDs by expiry in ms; expires with the last lease
-- ARGV[1]  leaseMs
-- ARGV[2]  deadlineMs  by Redis's clock; a later call does nothing, because the slots may have been released since; 0 for none
-- ARGV[3…] lease IDs
-- returns  1; 0 after the deadline
local deadlineMs, endMs = tonumber(ARGV[2]), string.format('%d', nowMs + tonumber(ARGV[1]))
if deadlineMs > 0 and nowMs > deadlineMs then return 0 end
if redis.call('TYPE', KEYS[1]).ok ~= 'zset' then redis.call('DEL', KEYS[1]) end
for i = 3, #ARGV do redis.call('ZADD', KEYS[1], endMs, ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
