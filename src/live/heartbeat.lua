-- Writes all fields of a live connection, so that an evicted hash is complete again.
-- KEYS[1]  state       hash
-- ARGV[1]  lifetimeMs
-- ARGV[2]  field, then its value, and so on
-- returns  nil
redis.call('HSET', KEYS[1], 'seen', string.format('%.0f', nowMs), unpack(ARGV, 2))
redis.call('PEXPIRE', KEYS[1], ARGV[1])
