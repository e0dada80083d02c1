-- cancel: a job that does not run ends cancelled at once; one that runs is flagged, and its worker's name returned, unless only
--   what waits is to go.
-- KEYS: meta, never, wake, scheduled, finished, *streams
-- ARGV: uid, resend_window, default_retention, only_waiting
-- Reply: {verdict, worker or status}; verdicts: cancelled, flagged, runs (and only_waiting is 1: nothing was done), ended, missing.
-- include: now, shard, status, streams, wake, place, parking, cancel, whole
redis.call('PERSIST', meta)
local name = record(uid)
local wrong = torn(name)
if wrong then return wrong end
local j = redis.call('HMGET', name, 'status', 'worker', 'priority', 'place', 'task', 'token')
j[1] = status_in(j[1], j[6], j[5])
if not j[1] then return { 'missing', '' } end
if j[1] == 'running' then
  if only_waiting == '1' then return { 'runs', j[2] } end
  redis.call('HSET', name, 'cancel', '1')
  return { 'flagged', j[2] }
end
if j[1] == 'queued' then
  stale(stream_of(j[3], j[4]))
elseif j[1] == 'scheduled' then
  redis.call('ZREM', scheduled, uid)
elseif j[1] == 'parked' then
  leave_parked(j[5] or '?', uid)
else
  return { 'ended', j[1] }
end
redis.call('HSET', name, 'cancel', '1')
end_cancelled(uid, 'cancelled')
if earliest < math.huge then wake_owner(earliest > 0 and earliest or nil) end
return { 'cancelled', '' }
