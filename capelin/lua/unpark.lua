-- unpark: jobs that were parked start at a worker that can run them, straight in its hands: an entry of the `unparked` stream
--   is delivered in the script that adds it, so no other worker can take it in between. Keeps: 10.
-- KEYS: meta, stakes, *streams
-- ARGV: worker, count, ttl, *task(name, digest)
-- Reply: jobs, each as `take` gives them.
-- include: now, shard, streams
redis.call('PERSIST', meta)
local jobs = {}
local want = tonumber(count)
local index = UNPARKED
local paused = redis.call('HGET', meta, 'paused') -- then they only wait in their streams, for `resume`
if redis.call('EXISTS', streams[index]) == 0 then
  redis.call('XGROUP', 'CREATE', streams[index], 'workers', '0', 'MKSTREAM')
end
for i = FIRST, #ARGV, STEP do
  local name, digest = task(i)
  -- A job that this very signature refused stays; one that nobody here knew, or another signature refused, is tried.
  local waiting = redis.call('ZRANGE', parked(name), 0, want * 2)
  for _, uid in ipairs(waiting) do
    if #jobs >= want then break end
    local ok, j = pcall(redis.call, 'HMGET', record(uid), 'status', 'token', 'digest', 'args', 'attempt', 'crashes', 'timeout',
      'retry', 'headers', 'parent', 'enqueued', 'expires', 'cancel', 'first', 'correlation', 'batch', 'priority', 'parked_by')
    if not ok or j[1] ~= 'parked' then
      redis.call('ZREM', parked(name), uid)
      redis.call('HINCRBY', meta, 'parked:' .. name, -1)
    elseif j[18] ~= digest and paused then
      redis.call('ZREM', parked(name), uid)
      redis.call('HINCRBY', meta, 'parked:' .. name, -1)
      redis.call('HSET', record(uid), 'status', 'queued', 'place', '')
      redis.call('XADD', streams[STREAM_OF[j[17] or 'normal'] or NORMAL], '*', 'j', uid)
    elseif j[18] ~= digest then
      redis.call('ZREM', parked(name), uid)
      redis.call('HINCRBY', meta, 'parked:' .. name, -1)
      local entry = redis.call('XADD', streams[index], '*', 'j', uid)
      redis.call('XREADGROUP', 'GROUP', 'workers', worker, 'COUNT', 1, 'STREAMS', streams[index], '>')
      local token = (tonumber(j[2]) or 0) + 1
      local place = index .. ':' .. entry
      redis.call('HSET', record(uid), 'status', 'running', 'worker', worker, 'token', token, 'started', now, 'place', place)
      jobs[#jobs + 1] = { uid, place, token, name, j[3], j[4], j[5], j[6], j[7], j[8], j[9], j[10], j[11], j[12], j[13],
        j[14], j[15], j[16], j[17] }
    end
  end
  if tonumber(redis.call('HGET', meta, 'parked:' .. name) or 0) <= 0 then redis.call('HDEL', meta, 'parked:' .. name) end
end
if #jobs > 0 then redis.call('ZADD', stakes, 'GT', now + tonumber(ttl), worker) end
return jobs
