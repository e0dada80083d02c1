-- watch: somebody waits for the end of a job. Reads the status; while it has none, marks the record, so that `finish` tells.
-- KEYS: meta, never
-- ARGV: uid
-- Reply: {status, result, error}, or an empty list when there is no record, or only a stub whose result is gone.
-- include: shard, status
redis.call('PERSIST', meta) -- allowed at `maxmemory`, where people wait for results, too
local name = record(uid)
local j = redis.call('HMGET', name, 'status', 'result', 'error', 'waited', 'cut', 'token', 'task')
j[1] = status_in(j[1], j[6], j[7])
if not j[1] or (j[5] and j[1] ~= 'cancelled') then return {} end
local ended = j[1] == 'completed' or j[1] == 'failed' or j[1] == 'cancelled'
if not ended and not j[4] then redis.call('HSET', name, 'waited', '1') end
return { j[1], j[2], j[3] }
