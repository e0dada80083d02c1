-- include: shard
-- total: counts what no worker sees (an enqueue, a cancel of what waits, a replay) or not all of (failed starts), for the figures
-- of the fleet. It must cost no script its work.
local function total(name, by) redis.pcall('HINCRBY', meta, 'total:' .. name, by) end
