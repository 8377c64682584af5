-- Returns its arguments, Redis's time, and a key's value; INCRs the key instead when told `incr`.
-- KEYS[1]  any string
-- ARGV[1]  a text
-- returns  { text, nowMs, value or false }
if ARGV[1] == 'incr' then redis.call('INCR', KEYS[1]) end
return { ARGV[1], nowMs, redis.call('GET', KEYS[1]) }
