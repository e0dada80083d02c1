-- enqueue: writes jobs, all or none of them. Keeps: 1 (nothing accepted is lost), 6 (a re-sent request is recognised by its
--   uid), 7 (dedupe). At `maxmemory` it is refused before the first write.
-- KEYS: meta, wake, scheduled, *streams
-- ARGV: most, resend_window, *job(uid, task, digest, args, priority, due, extra, unique_key, unique_for, on_duplicate)
-- Reply: a list, one a job: {verdict, uid}; verdicts: new, again, duplicate, replaced, follower. Or the text 'full'.
-- include: now, shard, streams, wake, place, add
if most ~= '' then
  local waiting = redis.call('ZCARD', scheduled)
  for index = 1, #streams do waiting = waiting + redis.call('XLEN', streams[index]) end
  if waiting + (#ARGV - FIRST + 1) / STEP > tonumber(most) then return 'full' end
end

local LIVE = { scheduled = true, queued = true, running = true, parked = true }
local OPTIONAL = { 'args', 'priority', 'expires', 'timeout', 'retry', 'retention', 'headers', 'then', 'on_failure', 'digest',
  'due', 'error', 'parked_by', 'attempt', 'crashes', 'window', 'parent', 'correlation', 'batch', 'delay', 'first', 'max_crashes' }

-- A replaced request leaves no record of its own: this alias, which ends by itself, answers its re-send.
local function alias(uid, target)
  local name = record(uid)
  redis.call('HSET', name, 'alias', target)
  redis.call('PEXPIRE', name, resend_window)
end

local function extra_of(text)
  if text == '' then return nil end
  return cjson.decode(text)
end

-- Changes a job that waits, in place: same id, same token count, everything else as the new request says.
local function replace(target, uid, task, digest, args, priority, due, extra)
  local name = record(target)
  local j = redis.call('HMGET', name, 'status', 'priority', 'place', 'key', 'follows')
  local index = j[3] == 'returned' and RETURNED or STREAM_OF[j[2] or 'normal']
  local wanted = STREAM_OF[priority] or NORMAL
  local at = moment(due)
  local later = at and at > now
  if j[1] == 'parked' then
    redis.call('ZREM', parked(task), target)
    redis.call('HINCRBY', meta, 'parked:' .. task, -1)
  elseif j[1] == 'scheduled' then
    redis.call('ZREM', scheduled, target)
  end
  redis.call('HDEL', name, unpack(OPTIONAL))
  local fields = { 'task', task, 'enqueued', now, 'request', uid }
  local function put(field, value)
    fields[#fields + 1] = field
    fields[#fields + 1] = value
  end
  if digest ~= '' then put('digest', digest) end
  if args ~= '' then put('args', args) end
  if priority ~= '' and priority ~= 'normal' then put('priority', priority) end
  for field, value in pairs(extra or {}) do
    if field == 'expires_in' then
      put('expires', (at or now) + value)
    else
      put(field, value)
    end
  end
  if j[5] then
    if due ~= '' then put('delay', due) end
    redis.call('ZADD', scheduled, '+inf', target)
  elseif later then
    if j[1] == 'queued' then stale(index) end
    put('status', 'scheduled')
    put('due', at)
    schedule(target, at)
  elseif j[1] ~= 'queued' or index ~= wanted then
    if j[1] == 'queued' then stale(index) end
    put('status', 'queued')
    put('place', '')
    enter(target, wanted)
  end
  redis.call('HSET', name, unpack(fields))
  alias(uid, target)
end

-- The job that holds a dedupe key, or nil when the key is free (or holds an ended job that nobody cleared).
local function holder_of(name)
  local uid = redis.call('GET', name)
  if not uid then return nil end
  local j = redis.call('HMGET', record(uid), 'status', 'token', 'follower')
  if LIVE[j[1]] then return uid, j[1], tonumber(j[2]) or 0, j[3] end
  if redis.call('PTTL', name) > 0 then return uid, 'ended', 0, nil end
  return nil
end

local function submit(uid, task, digest, args, priority, due, extra, unique_key, unique_for, on_duplicate)
  local known = redis.call('HMGET', record(uid), 'status', 'alias')
  if known[1] then return { 'again', uid } end
  if known[2] then return { 'replaced', known[2] } end
  if unique_key == '' then
    add(uid, task, digest, args, priority, due, extra_of(extra))
    return { 'new', uid }
  end
  local name = unique(task, unique_key)
  local fields = extra_of(extra) or {}
  fields.key = unique_key
  local holder, status, token, follower = holder_of(name)
  if not holder then
    if unique_for ~= '' then
      fields.window = '1'
      redis.call('SET', name, uid, 'PX', unique_for)
    else
      redis.call('SET', name, uid)
    end
    add(uid, task, digest, args, priority, due, fields)
    return { 'new', uid }
  end
  if unique_for ~= '' or redis.call('PTTL', name) > 0 then fields.window = '1' end
  if on_duplicate == 'keep' or status == 'ended' then return { 'duplicate', holder } end
  local started = status == 'running' or (on_duplicate == 'follow' and token > 0)
  if not started then
    if on_duplicate == 'follow' then return { 'duplicate', holder } end
    replace(holder, uid, task, digest, args, priority, due, fields)
    return { 'replaced', holder }
  end
  if follower and redis.call('HGET', record(follower), 'follows') == holder then
    if on_duplicate == 'follow' then return { 'duplicate', follower } end
    replace(follower, uid, task, digest, args, priority, due, fields)
    return { 'replaced', follower }
  end
  fields.follows = holder
  redis.call('HSET', record(holder), 'follower', uid)
  add(uid, task, digest, args, priority, due, fields)
  return { 'follower', uid }
end

local replies = {}
for i = FIRST, #ARGV, STEP do
  local uid, task, digest, args, priority, due, extra, unique_key, unique_for, on_duplicate = job(i)
  replies[#replies + 1] = submit(uid, task, digest, args, priority, due, extra, unique_key, unique_for, on_duplicate)
end
if earliest < math.huge then wake_owner(earliest > 0 and earliest or nil) end
return replies
