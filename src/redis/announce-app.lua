-- Announces an app under a key prefix, and finds the other apps that have announced themselves there.
-- KEYS[1]  apps        hash: name of an app, and when one of its processes announced it last, in ms
-- ARGV[1]  name
-- ARGV[2]  lifetimeMs  of an announcement
-- returns  the names of the other apps, at most 10
local entries = redis.call('HGETALL', KEYS[1])
local others, expired = {}, {}
for i = 1, #entries, 2 do
  local seenAt = tonumber(entries[i + 1])
  if entries[i] ~= ARGV[1] then
    if seenAt and seenAt > nowMs - ARGV[2] then
      if #others < 10 then others[#others + 1] = entries[i] end
    elseif #expired < 100 then
      expired[#expired + 1] = entries[i]
    end
  end
end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', nowMs))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
if #expired > 0 then redis.call('HDEL', KEYS[1], unpack(expired)) end
return others
