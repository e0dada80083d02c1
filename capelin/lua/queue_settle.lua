-- queue_settle: what was found over is struck off a queue's layout: older layouts that hold no key any more, and shards that hold
--   nothing. Nothing is, if the queue has been cut anew since the caller looked.
-- KEYS: queue_meta
-- ARGV: layout, homes, reach, looked
--   looked: the number of shards that the caller looked at; where more are served by now, it has not seen all.
--   homes: those that are left, as in the reply of `open_queue`. reach: the number of shards that may hold anything, as the caller
--   has just seen; it is more than what is written here if Redis has lost that.
-- Reply: {settled, shards, schema, layout, reach, homes, fewest}; settled: 1, or 0 when it was cut anew, or has more shards.
-- include: now, queue
local q = read_queue()
if q[3] ~= tonumber(layout) or q[4] > tonumber(looked) then return { 0, unpack(q) } end
if homes == '' then
  redis.call('HDEL', queue_meta, 'homes')
else
  redis.call('HSET', queue_meta, 'homes', homes)
end
local wanted = math.max(q[1], tonumber(reach))
if wanted == q[1] then
  redis.call('HDEL', queue_meta, 'reach')
elseif wanted ~= q[4] then
  redis.call('HSET', queue_meta, 'reach', wanted)
end
if (tonumber(redis.call('HGET', queue_meta, 'until')) or 0) <= now then redis.call('HDEL', queue_meta, 'fewest', 'until') end
return { 1, unpack(read_queue()) }
