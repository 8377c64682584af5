-- Lists a process among those of the service, and returns all of them.
-- KEYS[1]  processes   sorted set, one member for each process, scored by the time of its last call in ms
-- ARGV[1]  process     JSON of this process, the same in each call
-- ARGV[2]  lifetimeMs
-- returns  the members that have called within their lifetime
redis.call('ZADD', KEYS[1], nowMs, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', nowMs - ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call('ZRANGE', KEYS[1], 0, -1)
