-- progress: a running start says how far it is. A start that is over is not heard.
-- KEYS: meta, never
-- ARGV: uid, worker, token, progress
-- Reply: 1, or 0 when this start is not the running one.
-- include: shard
local name = record(uid)
local j = redis.call('HMGET', name, 'status', 'worker', 'token')
if j[1] ~= 'running' or j[2] ~= worker or j[3] ~= token then return 0 end
redis.call('HSET', name, 'progress', progress)
return 1
