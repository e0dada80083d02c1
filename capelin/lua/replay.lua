-- replay: a dead job runs again, as new: same id, attempts and crashes from zero, its dedupe key taken again. Compare and set:
--   of two operators one wins. A job that waits for its time is made due instead.
-- KEYS: meta, never, wake, scheduled, dlq, *streams
-- ARGV: uid
-- Reply: {verdict, detail}; verdicts: replayed, hurried, duplicate (detail: who holds the key), refused (detail: status),
--   missing.
-- include: now, shard, streams, wake, place
local name = record(uid)
local j = redis.call('HMGET', name, 'status', 'task', 'key', 'place', 'priority', 'window', 'follows')
if not j[1] then return { 'missing', '' } end
if j[1] == 'scheduled' and not j[7] then
  redis.call('ZREM', scheduled, uid)
  redis.call('HSET', name, 'status', 'queued', 'place', '')
  enter(uid, stream_of(j[5]))
  wake_owner(nil)
  return { 'hurried', '' }
end
local entry = string.match(j[4] or '', '^dlq:(.+)$')
-- Without an entry in the DLQ it is a stub, its arguments gone.
if j[1] ~= 'failed' or not entry then return { 'refused', j[1] } end
if j[2] and j[3] and not j[6] then
  local holder = redis.pcall('GET', unique(j[2], j[3]))
  if type(holder) == 'string' and holder ~= uid then
    local live = redis.pcall('HGET', record(holder), 'status')
    if live == 'queued' or live == 'scheduled' or live == 'running' or live == 'parked' then return { 'duplicate', holder } end
  end
  redis.call('SET', unique(j[2], j[3]), uid)
end
redis.call('HDEL', name, 'error', 'finished', 'attempt', 'crashes', 'cancel', 'follower', 'first', 'parked_by', 'expires')
redis.call('HSET', name, 'status', 'queued', 'place', '')
redis.call('XDEL', dlq, entry)
enter(uid, stream_of(j[5]))
wake_owner(nil)
return { 'replayed', '' }
