-- include: shard
-- total: counts what no worker sees (an enqueue, a cancel of what waits), for the metrics of the fleet. It must cost no script
-- its work.
local function total(name, by) redis.pcall('HINCRBY', meta, 'total:' .. name, by) end
