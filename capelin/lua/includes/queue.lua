-- include: now
-- queue: how a queue is cut, and how it was.
--   homes: older layouts whose keys may still be held, 'version:shards,...', the oldest first. reach: shards that may hold
--   anything. fewest: the smallest number of shards in the time for which ended jobs are kept; limits for a whole queue divide by it.
local function read_queue()
  local q = redis.call('HMGET', queue_meta, 'shards', 'schema', 'layout', 'reach', 'homes', 'fewest')
  local shards = tonumber(q[1]) or 0
  return { shards, tonumber(q[2]) or 0, tonumber(q[3]) or 1, tonumber(q[4]) or shards, q[5] or '', tonumber(q[6]) or shards }
end
-- Somebody has seen a version that is not written here any more. Nobody knows here into how many shards that layout cut the queue, and
-- clients may still place jobs by it: so what is written here becomes the version after it. The present one is listed as an older one,
-- too, so that workers have every shard hear of that.
local function make_good(floor)
  local q = read_queue()
  if q[3] >= floor then return end
  redis.call('PERSIST', queue_meta) -- allowed at `maxmemory`
  redis.call('HSET', queue_meta, 'layout', floor + 1)
  if q[5] == '' then redis.call('HSET', queue_meta, 'homes', q[3] .. ':' .. q[1]) end
end
