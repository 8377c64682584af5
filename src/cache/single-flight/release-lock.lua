-- Releases a lock after a fill that stored nothing, if the caller still holds it, and notifies waiting processes.
-- KEYS[1]  lock     see acquire-lock.lua
-- ARGV[1]  holder   the value that the caller set
-- ARGV[2]  passMs   how long requests bypass the lock; 0: the next request acquires it
-- ARGV[3]  channel
-- ARGV[4]  message  '<free | failed | pass> <entry>'
-- reply    1 released, 0 not held
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
