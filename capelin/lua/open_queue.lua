-- open_queue: the layout of a queue, written by whoever uses it first.
-- KEYS: queue_meta
-- ARGV: shards, schema
-- Reply: {shards, schema, layout}
local q = redis.call('HMGET', queue_meta, 'shards', 'schema', 'layout')
if q[1] then return { tonumber(q[1]), tonumber(q[2]) or 0, tonumber(q[3]) or 1 } end
redis.call('PERSIST', queue_meta) -- allowed at `maxmemory`: a worker must start there, and drain its other queues
redis.call('HSET', queue_meta, 'shards', shards, 'schema', schema, 'layout', 1)
return { tonumber(shards), tonumber(schema), 1 }
