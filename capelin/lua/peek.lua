-- peek: whether a shard may hold what a thief could take. A thief looks before it takes: where there is nothing, and that is most
--   often so, this costs a tenth of a `take`. Writes nothing.
-- KEYS: scheduled, *streams
-- ARGV: older_than
-- Reply: 1 when there may be something, else 0.
-- include: now
for index = 1, #streams do
  if redis.call('XLEN', streams[index]) > 0 then return 1 end
end
local first = redis.call('ZRANGE', scheduled, 0, 0, 'WITHSCORES')
return first[2] and tonumber(first[2]) <= now - tonumber(older_than) and 1 or 0
