-- unpark: jobs that were parked start at a worker that can run them, straight in its hands: an entry of the `unparked` stream
--   is delivered in the script that adds it, so no other worker can take it in between. Keeps: 10.
-- KEYS: meta, never, wake, scheduled, stakes, dlq, *streams
-- ARGV: worker, count, ttl, keys, *task(name, digest)
-- Reply: jobs, each as `take` gives them.
-- include: now, shard, streams, wake, parking, aside, start, strangers
redis.call('PERSIST', meta)
local jobs = {}
local want = tonumber(count)
local paused = redis.call('HGET', meta, 'paused') -- then they only wait in their streams, for `resume`
local LOOKED_AT = 500

-- Whether who asks lacks the key that lacked when the job was parked.
local function locked(by)
  return string.sub(by, 1, 4) == 'key:' and not string.find(' ' .. keys .. ' ', ' ' .. string.sub(by, 5) .. ' ', 1, true)
end

local ready = false
-- An entry that is in flight from the moment it exists.
local function deliver(uid)
  local stream = streams[UNPARKED]
  if not ready then
    set_strangers_aside()
    redis.pcall('XGROUP', 'CREATE', stream, 'workers', '0', 'MKSTREAM') -- refused when it has one
    ready = true
  end
  local entry = redis.call('XADD', stream, '*', 'j', uid)
  redis.call('XREADGROUP', 'GROUP', 'workers', worker, 'COUNT', 1, 'STREAMS', stream, '>')
  return UNPARKED .. ':' .. entry
end

for i = FIRST, #ARGV, STEP do
  local name, digest = task(i)
  for _, uid in ipairs(redis.call('ZRANGE', parked(name), 0, LOOKED_AT - 1)) do
    if #jobs >= want then break end
    local j = read_job(uid)
    local by = j and redis.call('HGET', record(uid), 'parked_by') or ''
    if not j or not j[1] or (j[1] == 'parked' and not sound(j)) then
      leave_parked(name, uid)
      set_aside(uid)
    elseif j[1] ~= 'parked' then
      leave_parked(name, uid)
    elseif by ~= digest and not locked(by or '') then -- what this very signature refused stays; what nobody knew, or another one refused, is tried
      if paused then
        redis.call('XADD', streams[stream_of(j[8])], '*', 'j', uid)
        redis.call('HSET', record(uid), 'status', 'queued', 'place', '')
      else
        jobs[#jobs + 1] = start(uid, deliver(uid), j)
      end
      leave_parked(name, uid)
    end
  end
end
if earliest < math.huge then wake_owner(nil) end
if #jobs > 0 then redis.call('ZADD', stakes, 'GT', now + tonumber(ttl), worker) end
return jobs
