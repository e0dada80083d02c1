-- enqueue: writes jobs, all or none of them. Keeps: 1 (nothing accepted is lost), 6 (a re-sent request is recognised by its
--   uid), 7 (dedupe), 8 (a tick is enqueued once). At `maxmemory` it is refused before the first write.
-- KEYS: meta, never, wake, scheduled, ticks, lent, *streams
-- ARGV: most, resend_window, layout, question, touch, *job(uid, task, digest, args, priority, due, extra, unique_key, unique_for, on_duplicate)
--   layout: the version by which the caller placed the jobs. question: 1 when this is the home of their keys under an older one:
--   a job whose key is free here, or that has none, is not written, since it belongs elsewhere.
-- Reply: 'new' when every job is, 'full', or a list, one a job: {verdict, uid}; verdicts: new, again, duplicate, replaced,
--   follower, late; and `moved` (with the version that the caller must know: nothing was written), `free` (to a question), `away`
--   (with a loan of the key that may be over; see lend). An `extra` with `schedule` and `tick` is a tick's job: it is written
--   once, and not after `not_after` (ms). One with `past` names loans that are over.
-- include: now, shard, streams, wake, place, parking, add, layout, holder, keys
local TICKS_REMEMBERED = 30 * 86400 * 1000
local OPTIONAL = { 'args', 'priority', 'expires', 'timeout', 'retry', 'retention', 'headers', 'then', 'on_failure', 'digest',
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
  local index, wanted = stream_of(j[2], j[3]), stream_of(priority)
  local at = moment(due)
  local later = at and at > now
  if j[1] == 'parked' then
    leave_parked(task, target)
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

-- What a request comes to, and the job that it concerns. Only `new` and `follower` add a job.
local function decide(uid, task, unique_key, on_duplicate, past)
  local known = redis.call('HMGET', record(uid), 'status', 'alias')
  if known[1] then return 'again', uid end
  if known[2] then return 'known', known[2] end
  if older then return 'moved', string.format('%.0f', heard) end
  if unique_key == '' then return question == '1' and 'free' or 'new', uid end
  local holder, status, token, follower = holder_of(unique(task, unique_key))
  if not holder then
    local loan = lent_to(task, unique_key, past)
    if loan then return 'away', loan end
    return question == '1' and 'free' or 'new', uid
  end
  if on_duplicate == 'keep' or status == 'ended' then return 'duplicate', holder end
  -- The follower runs last, so it is the one that must have the newest arguments.
  if follower then return on_duplicate == 'follow' and 'duplicate' or 'replace', follower end
  if status == 'running' or (on_duplicate == 'follow' and token > 0) then return 'follower', holder end
  return on_duplicate == 'follow' and 'duplicate' or 'replace', holder
end

-- The newest tick of each schedule that was decided here outlives the tick's job: a leader that comes back late, or another after
-- it, learns that there is nothing left to enqueue, however short the record was kept.
local PASSED_OVER = 0.5 -- more than the tick: it came to no job, since another held the key
local function settled(extra)
  local newest, tick = tonumber(redis.call('ZSCORE', ticks, extra.schedule) or -1), tonumber(extra.tick)
  if newest == tick + PASSED_OVER then return 'duplicate' end
  if newest >= tick then return 'again' end
  if now > tonumber(extra.not_after) then return 'late' end
end
local function settle_tick(extra, verdict)
  local tick = tonumber(extra.tick)
  extra.not_after = nil
  redis.call('ZADD', ticks, verdict == 'duplicate' and tick + PASSED_OVER or tick, extra.schedule)
  redis.call('ZREMRANGEBYSCORE', ticks, '-inf', math.min(now - TICKS_REMEMBERED, tick - 1)) -- of schedules that are no more, say
  redis.call('PEXPIRE', ticks, TICKS_REMEMBERED)
end

local NOTHING_WRITTEN = { moved = true, away = true, free = true }
local added, doubled, taken, last_window = 0, 0, 0, 0
local function submit(extra, uid, task, digest, args, priority, due, _, unique_key, unique_for, on_duplicate)
  if extra.tick then
    local verdict = settled(extra)
    if verdict then return verdict, uid end
  end
  local past = extra.past
  extra.past = nil
  local verdict, target = decide(uid, task, unique_key, on_duplicate, past)
  if verdict == 'free' then
    take_back(task, unique_key)
    call_in(past)
  end
  if NOTHING_WRITTEN[verdict] then return verdict, target end
  if extra.tick then settle_tick(extra, verdict) end -- the first write: a full Redis refuses it
  if verdict == 'duplicate' or verdict == 'replace' then doubled = doubled + 1 end
  if verdict == 'again' or verdict == 'duplicate' then return verdict, target end
  if verdict == 'known' then return 'replaced', target end
  if unique_key ~= '' then
    local name = unique(task, unique_key)
    extra.key = unique_key
    if verdict == 'new' then
      take_back(task, unique_key)
      if layout ~= '1' then extra.layout = layout end
    end
    if verdict == 'new' and unique_for ~= '' then
      extra.window = '1'
      redis.call('SET', name, uid, 'PX', unique_for)
      last_window = math.max(last_window, now + tonumber(unique_for))
    elseif verdict == 'new' then
      redis.call('SET', name, uid)
      taken = taken + 1
    else -- how a key is held is decided by the first that takes it
      extra.layout = redis.call('HGET', record(target), 'layout') or nil
      if redis.call('PTTL', name) > 0 then extra.window = '1' end
    end
  end
  if verdict == 'replace' then
    replace(target, uid, task, digest, args, priority, due, extra)
    return 'replaced', target
  end
  if verdict == 'follower' then
    extra.follows = target
    redis.call('HSET', record(target), 'follower', uid)
  end
  add(uid, task, digest, args, priority, due, extra)
  added = added + 1
  return verdict, uid
end

local function checked(due, extra, unique_for)
  if not is_moment(due) then error(due) end
  if unique_for ~= '' and not string.find(unique_for, '^[1-9]%d*$') then error(unique_for) end
  if extra == '' then return {} end
  local fields = cjson.decode(extra)
  for name, value in pairs(fields) do
    if type(name) ~= 'string' or type(value) ~= 'string' and type(value) ~= 'number' then error(name) end
  end
  if fields.expires_in and not tonumber(fields.expires_in) then error(fields.expires_in) end
  if fields.tick and not (fields.schedule and tonumber(fields.tick) and tonumber(fields.not_after)) then error(fields.tick) end
  return fields
end
local extras = {}
for i = FIRST, #ARGV, STEP do
  local uid, task, digest, args, priority, due, extra, unique_key, unique_for, on_duplicate = job(i)
  local ok, fields = pcall(checked, due, extra, unique_for)
  if not ok then
    return redis.error_reply('ERR due, extra or unique_for of ' .. uid .. ' makes no sense: nothing was written')
  end
  extras[i] = fields
end

-- Jobs that wait: what runs, and entries whose job has left, do not count; nor do requests that add no job.
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
if most ~= '' then
  local more = 0
  for i = FIRST, #ARGV, STEP do
    local uid, task, digest, args, priority, due, extra, unique_key, unique_for, on_duplicate = job(i)
    local verdict = decide(uid, task, unique_key, on_duplicate, extras[i].past)
    if verdict == 'new' or verdict == 'follower' then more = more + 1 end
  end
  if more > 0 and waiting() + more > tonumber(most) then return 'full' end
end

hear()
local verdicts, targets, plain = {}, {}, true
for i = FIRST, #ARGV, STEP do
  local n = #verdicts + 1
  verdicts[n], targets[n] = submit(extras[i], job(i))
  plain = plain and verdicts[n] == 'new'
end
if added > 0 then total('enqueued', added) end
-- WAIT vouches for what its connection wrote, and a known id writes nothing. This writes, and a full Redis allows it.
if touch == '1' and added == 0 then
  if redis.call('PEXPIRE', meta, 60000) == 0 then total('enqueued', 0) end
  redis.call('PERSIST', meta)
end
if doubled > 0 then total('duplicates', doubled) end
if taken > 0 then count_keys(layout, taken) end
if last_window > 0 and last_window > (tonumber(redis.call('HGET', meta, 'windows:' .. layout)) or 0) then
  redis.call('HSET', meta, 'windows:' .. layout, string.format('%.0f', last_window))
end
if earliest < math.huge then wake_owner(earliest > 0 and earliest or nil) end
if plain and added > 0 then return 'new' end
for n = 1, #verdicts do verdicts[n] = { verdicts[n], targets[n] } end
return verdicts
