-- Renews the hashes of live connections.
-- KEYS     states      hashes; in a Cluster one only
-- ARGV[1]  lifetimeMs
-- returns  the indices, from 1, of hashes that do not exist
local seen, missing = string.format('%.0f', nowMs), {}
for i = 1, #KEYS do
  if redis.call('PEXPIRE', KEYS[i], ARGV[1]) == 1 then
    redis.call('HSET', KEYS[i], 'seen', seen)
  else
    missing[#missing + 1] = i
  end
end
return missing
