-- Compares positions with the ends of their topics' logs. A log that ends at its position is renewed; of any other, nothing is changed.
-- KEYS     logs        streams; in a Cluster one only
-- ARGV[1]  retainMs
-- ARGV[2]  positions   of the logs, in their order
-- returns  the indices, from 1, of the logs that do not end at their position
local retainMs, others = ARGV[1], {}
for i = 1, #KEYS do
  -- A key of another type is one of these too: the topic's own read reports it, and the other logs are still compared.
  local last = redis.pcall('XREVRANGE', KEYS[i], '+', '-', 'COUNT', 1)[1]
  if last and last[1] == ARGV[i + 1] then
    redis.call('PEXPIRE', KEYS[i], retainMs)
  else
    others[#others + 1] = i
  end
end
return others
