-- leave: a worker that has nothing running in a shard takes its name off it: stake and consumers. With jobs pending nothing
--   happens, since they come back by its stake.
-- KEYS: meta, never, stakes, *streams
-- ARGV: worker
-- Reply: 1 when it is gone, 0 when jobs are pending.
redis.call('PERSIST', meta)
for index = 1, #streams do
  if redis.call('XLEN', streams[index]) > 0 then
    local pending = redis.pcall('XPENDING', streams[index], 'workers', '-', '+', 1, worker)
    if not pending.err and #pending > 0 then return 0 end
  end
end
for index = 1, #streams do
  if redis.call('EXISTS', streams[index]) == 1 then
    redis.pcall('XGROUP', 'DELCONSUMER', streams[index], 'workers', worker)
  end
end
redis.call('ZREM', stakes, worker)
return 1
