-- Gives a lock back that is still the caller's, without an answer, and tells who waits, if anybody does.
-- KEYS[1]  lock     see lock.lua
-- ARGV[1]  holder   what the caller set it to
-- ARGV[2]  passMs   how long everybody shall fill for himself; 0: the next one takes the lock
-- ARGV[3]  channel
-- ARGV[4]  message
-- returns  1 given back, 0 it was not the caller's
local holder = redis.call('GET', KEYS[1])
local isWaitedFor = holder == ARGV[1] .. '!'
if holder ~= ARGV[1] and not isWaitedFor then return 0 end
if ARGV[2] == '0' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], 'pass', 'PX', ARGV[2])
end
if isWaitedFor then redis.pcall('PUBLISH', ARGV[3], ARGV[4]) end
return 1
