-- Gives a lock back that is still the caller's, without an answer, and tells who waits.
-- KEYS[1]  lock
-- ARGV[1]  holder   what the caller set it to
-- ARGV[2]  passMs   how long everybody shall fill for himself; 0: the next one takes the lock
-- ARGV[3]  channel
-- ARGV[4]  message
-- returns  1 given back, 0 it was not the caller's
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], 'pass', 'PX', ARGV[2])
end
redis.pcall('PUBLISH', ARGV[3], ARGV[4])
return 1
