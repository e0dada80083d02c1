-- open_queue: the layout of a queue, written by whoever uses it first.
-- KEYS: queue_meta
-- ARGV: shards, schema, floor, held
--   floor: the version of a layout that the caller has seen, or that a shard has heard of. One that is older was written again after
--   a loss of data.
--   held: shards in which the caller has just seen something; what the layout says of them was lost.
-- Reply: {shards, schema, layout, reach, homes, fewest}; see includes/queue.lua.
-- include: queue
if not redis.call('HMGET', queue_meta, 'shards')[1] then
  redis.call('PERSIST', queue_meta) -- allowed at `maxmemory`: a worker must start there, and drain its other queues
  redis.call('HSET', queue_meta, 'shards', shards, 'schema', schema, 'layout', 1)
end
make_good(tonumber(floor))
local q = read_queue()
if tonumber(held) <= q[4] then return q end
redis.call('PERSIST', queue_meta)
redis.call('HSET', queue_meta, 'reach', held)
return read_queue()
