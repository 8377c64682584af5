-- Writes what is known of a live connection, whole: one that was evicted comes back.
-- KEYS[1]  state       hash
-- ARGV[1]  lifetimeMs
-- ARGV[2]  field, then its value, and so on
-- returns  nothing
redis.call('HSET', KEYS[1], 'seen', string.format('%.0f', nowMs), unpack(ARGV, 2))
redis.call('PEXPIRE', KEYS[1], ARGV[1])
