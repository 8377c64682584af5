-- Adds one to a counter.
-- KEYS[1]  the counter
-- returns  its value
return redis.call('INCR', KEYS[1])
