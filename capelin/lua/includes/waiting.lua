-- include: streams
-- waiting: how many jobs wait: what runs, and entries whose job has left, do not count; nor do requests that add no job.
local function waiting()
  local count = redis.call('ZCARD', scheduled)
  for index = 1, #streams do
    local pending = redis.pcall('XPENDING', streams[index], 'workers')
    count = count + redis.call('XLEN', streams[index]) - (pending.err and 0 or pending[1])
  end
  local fields = redis.call('HGETALL', meta)
  for f = 1, #fields, 2 do
    if string.find(fields[f], '^stale:') then count = count - (tonumber(fields[f + 1]) or 0) end
    if string.find(fields[f], '^parked:') then count = count + (tonumber(fields[f + 1]) or 0) end
  end
  return count
end
