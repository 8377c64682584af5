-- Adds one to a counter, then fails.
-- KEYS[1]  the counter
-- ARGV[1]  the error's text
redis.call('INCR', KEYS[1])
return error({ err = ARGV[1] })
