-- include: now
-- queue: how a queue is cut, and how it was.
--   homes: older layouts whose keys may still be held, 'version:shards,...', the oldest first. reach: shards that may hold
--   anything. fewest: the smallest number of shards in the time for which ended jobs are kept; limits for a whole queue divide by it.
local function read_queue()
  local q = redis.call('HMGET', queue_meta, 'shards', 'schema', 'layout', 'reach', 'homes', 'fewest')
  local shards = tonumber(q[1]) or 0
  return { shards, tonumber(q[2]) or 0, tonumber(q[3]) or 1, tonumber(q[4]) or shards, q[5] or '', tonumber(q[6]) or shards }
end
