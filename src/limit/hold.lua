-- Takes one of a partition's places for a request under way, or keeps the one it has. What nobody renews ends by itself.
-- KEYS[1]  places      sorted set, lease id by the ms it ends at; expires with the last
-- ARGV[1]  limit       places
-- ARGV[2]  leaseMs
-- ARGV[3]  id          of the lease
-- ARGV[4]  deadlineMs  by Redis's clock; who is read later has given up; 0 for none
-- returns  { held 1 or 0, places left }
local limit, leaseMs, id, deadlineMs = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
if deadlineMs > 0 and nowMs > deadlineMs then return { 0, 0 } end
if redis.call('TYPE', KEYS[1]).ok ~= 'zset' then redis.call('DEL', KEYS[1]) end

-- After a clock was set back, an end may lie further ahead than any lease is long.
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', nowMs)
redis.call('ZREMRANGEBYSCORE', KEYS[1], nowMs + leaseMs + 1, '+inf')
local taken = redis.call('ZCARD', KEYS[1])
local isHeld = redis.call('ZSCORE', KEYS[1], id)
if not isHeld and taken >= limit then return { 0, 0 } end
redis.call('ZADD', KEYS[1], nowMs + leaseMs, id)
redis.call('PEXPIRE', KEYS[1], leaseMs)
return { 1, limit - taken - (isHeld and 0 or 1) }
