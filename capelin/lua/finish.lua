-- finish: records outcomes of starts. Keeps: 1, 2 (only the worker and token that run the job are believed; anything else is
--   `stale` and changes nothing), 6 (a repeat of the last recorded outcome counts as done).
-- KEYS: meta, never, wake, scheduled, stakes, finished, dlq, *streams
-- ARGV: worker, resend_window, default_retention, most_finished, *outcome(uid, token, kind, body, due, failure)
--   kinds: complete (body: result), retry (due, failure), dead (body: reason, failure), snooze (due), return, park (body: the
--   digest that refused the arguments), cancel. `failure` is the error as JSON.
-- Reply: a list, one an outcome: recorded, repeated, cancelled, stale, torn.
-- include: now, stamp, shard, streams, wake, place, tell, trim
-- rarely: parking, cancel, bury, aside, undone
redis.call('PERSIST', meta)
local acks = {}
local function leave(index, id)
  acks[index] = acks[index] or {}
  table.insert(acks[index], id)
end
local here -- where the entry of the outcome at hand is: stream index and entry id

-- The place comes before the status: where there is no such place, the job is found running still, and is set aside.
local function requeue(uid, name, priority, due)
  local at = moment(due)
  if at and at > now then
    schedule(uid, at)
    redis.call('HSET', name, 'status', 'scheduled', 'due', at, 'place', '')
  else
    enter(uid, stream_of(priority))
    redis.call('HSET', name, 'status', 'queued', 'place', '')
  end
end

local function complete(uid, name, j, body)
  local retention, enqueued, waited, key, follower, followed_by = j[7], j[8], j[9], j[10], j[11], j[12]
  local kin = followed_by and rarely().kin_of(uid) -- read before the record may be cut
  local held = (key or follower) and redis.call('HMGET', name, 'window', 'layout')
  if body ~= '' then
    redis.call('HSET', name, 'status', 'completed', 'finished', stamp, 'last', 'complete', 'result', body)
  else
    redis.call('HSET', name, 'status', 'completed', 'finished', stamp, 'last', 'complete')
  end
  keep(uid, retention, enqueued, waited)
  if held then rarely().free_key(uid, j[5], key, held[1], follower, held[2]) end
  if waited then tell(uid, 'completed') end
  if followed_by then rarely().add_next(uid, kin, followed_by) end
  return 'recorded'
end

local function end_otherwise(uid, name, task, token, kind, body, due, failure)
  local j = redis.call('HMGET', name, 'cancel', 'attempt', 'crashes', 'started', 'priority')
  redis.call('HSET', name, 'last', kind)
  local attempt = tonumber(j[2]) or 0
  if kind == 'retry' or kind == 'dead' or (kind == 'cancel' and failure ~= '') then
    rarely().note_failure(uid, token, attempt + 1, j[3] or 0, worker, j[4], failure)
    if kind ~= 'cancel' then
      attempt = attempt + 1
      redis.call('HSET', name, 'attempt', attempt)
    end
  end
  if j[1] or kind == 'cancel' then
    rarely().end_cancelled(uid, 'cancelled')
    return 'cancelled'
  end
  if kind == 'retry' then
    if attempt == 1 and j[4] then redis.call('HSETNX', name, 'first', j[4]) end
    requeue(uid, name, j[5], due)
  elseif kind == 'snooze' then
    requeue(uid, name, j[5], due)
  elseif kind == 'dead' then
    rarely().bury(uid, body, failure)
  elseif kind == 'return' then
    rarely().hand_back(uid)
  elseif kind == 'park' then
    rarely().park(task, uid)
    redis.call('HSET', name, 'status', 'parked', 'parked_by', body, 'place', '')
  end
  return 'recorded'
end

local function record_outcome(uid, token, kind, body, due, failure)
  local name = record(uid)
  local j = redis.call('HMGET', name, 'status', 'worker', 'token', 'place', 'task', 'last', 'retention', 'at', 'waited', 'key',
    'follower', 'then')
  if j[3] ~= token or j[1] ~= 'running' or j[2] ~= worker then
    if j[3] == token and j[6] == kind and j[1] ~= 'running' then return 'repeated' end
    return 'stale'
  end
  local index, id = string.match(j[4] or '', '^([1-6]):(%d+%-%d+)$')
  here = index and { tonumber(index), id }
  if not here or not j[5] then error('torn') end
  if kind == 'complete' then return complete(uid, name, j, body) end
  return end_otherwise(uid, name, j[5], token, kind, body, due, failure)
end

local KINDS = { complete = true, retry = true, dead = true, snooze = true, ['return'] = true, park = true, cancel = true }
for i = FIRST, #ARGV, STEP do
  local uid, token, kind, body, due, failure = outcome(i)
  if not KINDS[kind] then return redis.error_reply('ERR unknown outcome ' .. kind .. ': nothing was written') end
  if not is_moment(due) then return redis.error_reply('ERR ' .. due .. ' is no due moment: nothing was written') end
end
local verdicts = {}
for i = FIRST, #ARGV, STEP do
  local uid, token, kind, body, due, failure = outcome(i)
  here = nil
  local ok, verdict = pcall(record_outcome, uid, token, kind, body, due, failure)
  if not ok then
    verdict = 'torn'
    -- Whatever went wrong, the job gets a place before its entry goes. Without a place of its own to be found under, its entry
    -- stays for its worker's next renewal.
    if redis.pcall('HGET', record(uid), 'status') == 'running' then rarely().set_aside(uid) end
  end
  if here then leave(here[1], here[2]) end
  verdicts[#verdicts + 1] = verdict
end
for index, ids in pairs(acks) do
  redis.call('XACK', streams[index], 'workers', unpack(ids))
  redis.call('XDEL', streams[index], unpack(ids))
end
trim(tonumber(most_finished), #verdicts * 2 + 2)
if earliest < math.huge then wake_owner(earliest > 0 and earliest or nil) end
return verdicts
