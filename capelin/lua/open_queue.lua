-- open_queue: the layout of a queue, written by whoever uses it first.
-- KEYS: queue_meta
-- ARGV: shards, schema, floor
--   floor: the version of a layout that the caller has seen. One that is older was written again after a loss of data.
-- Reply: {shards, schema, layout, reach, homes, fewest}; see includes/queue.lua.
-- include: queue
local found = redis.call('HMGET', queue_meta, 'shards', 'layout')
if not found[1] then
  redis.call('PERSIST', queue_meta) -- allowed at `maxmemory`: a worker must start there, and drain its other queues
  redis.call('HSET', queue_meta, 'shards', shards, 'schema', schema, 'layout', math.max(1, tonumber(floor)))
elseif (tonumber(found[2]) or 1) < tonumber(floor) then
  redis.call('HSET', queue_meta, 'layout', floor)
end
return read_queue()
