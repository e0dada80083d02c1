-- include: now, streams, place, parking
-- replace: a request that takes the place of another.
local OPTIONAL = { 'a', 'priority', 'expires', 'timeout', 'retry', 'retention', 'headers', 'then', 'on_failure', 'd',
  'due', 'error', 'parked_by', 'attempt', 'crashes', 'window', 'parent', 'correlation', 'batch', 'delay', 'first',
  'max_crashes' }

-- A replaced request leaves no record of its own: this alias, which ends by itself, answers its re-send.
local function alias(uid, target)
  local name = record(uid)
  redis.call('HSET', name, 'alias', target)
  redis.call('PEXPIRE', name, resend_window)
end

-- Changes a job that waits, in place: same id, same token count, everything else as the new request says.
local function replace(target, uid, task, digest, args, priority, due, extra)
  local name = record(target)
  local j = redis.call('HMGET', name, 'status', 'priority', 'place', 'follows')
  local status = j[1] or 'queued'
  local index, wanted = stream_of(j[2], j[3]), stream_of(priority)
  local at = moment(due)
  local later = at and at > now
  if status == 'parked' then
    leave_parked(task, target)
  elseif status == 'scheduled' then
    redis.call('ZREM', scheduled, target)
  end
  redis.call('HDEL', name, unpack(OPTIONAL))
  local fields = { 'task', task, 'at', now, 'request', uid }
  local function put(field, value)
    fields[#fields + 1] = field
    fields[#fields + 1] = value
  end
  if digest ~= '' then put('d', digest) end
  if args ~= '' then put('a', args) end
  if priority ~= '' and priority ~= 'normal' then put('priority', priority) end
  for field, value in pairs(extra) do
    if field == 'expires_in' then
      put('expires', (at or now) + math.floor(tonumber(value)))
    else
      put(field, value)
    end
  end
  if j[4] then
    if due ~= '' then put('delay', due) end
    redis.call('ZADD', scheduled, '+inf', target)
  elseif later then
    if status == 'queued' then stale(index) end
    put('status', 'scheduled')
    put('due', at)
    schedule(target, at)
  elseif status ~= 'queued' or index ~= wanted then
    if status == 'queued' then stale(index) end
    put('status', 'queued')
    put('place', '')
    enter(target, wanted)
  end
  redis.call('HSET', name, unpack(fields))
  alias(uid, target)
end
