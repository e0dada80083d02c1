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
-- include: now, stamp, shard, streams, wake, place, add, layout, total
-- rarely: waiting, holder, keys, replace, ticks
-- What a request comes to, and the job that it concerns. Only `new` and `follower` add a job.
local function decide(uid, task, unique_key, on_duplicate, past)
  local known = redis.call('HMGET', record(uid), 'task', 'alias', 'status')
  if known[1] or known[3] then return 'again', uid end
  if known[2] then return 'known', known[2] end
  if older then return 'moved', string.format('%.0f', heard) end
  if unique_key == '' then return question == '1' and 'free' or 'new', uid end
  local holder, status, token, follower = rarely().holder_of(unique(task, unique_key))
  if not holder then
    local loan = rarely().lent_to(task, unique_key, past)
    if loan then return 'away', loan end
    return question == '1' and 'free' or 'new', uid
  end
  if on_duplicate == 'keep' or status == 'ended' then return 'duplicate', holder end
  -- The follower runs last, so it is the one that must have the newest arguments.
  if follower then return on_duplicate == 'follow' and 'duplicate' or 'replace', follower end
  if status == 'running' or (on_duplicate == 'follow' and token > 0) then return 'follower', holder end
  return on_duplicate == 'follow' and 'duplicate' or 'replace', holder
end

local NOTHING_WRITTEN = { moved = true, away = true, free = true }
local added, doubled, taken, last_window = 0, 0, 0, 0
local function submit(extra, uid, task, digest, args, priority, due, _, unique_key, unique_for, on_duplicate)
  local past
  if extra then
    if extra.tick then
      local verdict = rarely().settled(extra)
      if verdict then return verdict, uid end
    end
    past, extra.past = extra.past, nil
  end
  local verdict, target = decide(uid, task, unique_key, on_duplicate, past)
  if verdict == 'free' then
    rarely().take_back(task, unique_key)
    rarely().call_in(past)
  end
  if NOTHING_WRITTEN[verdict] then return verdict, target end
  if extra and extra.tick then rarely().settle_tick(extra, verdict) end -- the first write: a full Redis refuses it
  if verdict == 'duplicate' or verdict == 'replace' then doubled = doubled + 1 end
  if verdict == 'again' or verdict == 'duplicate' then return verdict, target end
  if verdict == 'known' then return 'replaced', target end
  if unique_key ~= '' then
    extra = extra or {}
    local name = unique(task, unique_key)
    extra.key = unique_key
    if verdict == 'new' then
      rarely().take_back(task, unique_key)
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
    rarely().replace(target, uid, task, digest, args, priority, due, extra or {})
    return 'replaced', target
  end
  if verdict == 'follower' then
    extra = extra or {}
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
  if extra == '' then return nil end
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
  if due ~= '' or extra ~= '' or unique_for ~= '' then
    local ok, fields = pcall(checked, due, extra, unique_for)
    if not ok then
      return redis.error_reply('ERR due, extra or unique_for of ' .. uid .. ' makes no sense: nothing was written')
    end
    extras[i] = fields
  end
end

if most ~= '' then
  local more = 0
  for i = FIRST, #ARGV, STEP do
    local uid, task, digest, args, priority, due, extra, unique_key, unique_for, on_duplicate = job(i)
    local verdict = decide(uid, task, unique_key, on_duplicate, extras[i] and extras[i].past)
    if verdict == 'new' or verdict == 'follower' then more = more + 1 end
  end
  if more > 0 and rarely().waiting() + more > tonumber(most) then return 'full' end
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
if taken > 0 then rarely().count_keys(layout, taken) end
if last_window > 0 and last_window > (tonumber(redis.call('HGET', meta, 'windows:' .. layout)) or 0) then
  redis.call('HSET', meta, 'windows:' .. layout, string.format('%.0f', last_window))
end
if earliest < math.huge then wake_owner(earliest > 0 and earliest or nil) end
if plain and added > 0 then return 'new' end
for n = 1, #verdicts do verdicts[n] = { verdicts[n], targets[n] } end
return verdicts
