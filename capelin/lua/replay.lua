-- replay: a dead job runs again, as new: same id, attempts and crashes from zero, its dedupe key taken again. Compare and set:
--   of two operators one wins. A job that waits for its time is made due instead. Keeps: 7.
-- KEYS: meta, never, wake, scheduled, dlq, lent, *streams
-- ARGV: uid, picked, layout, home, past
--   picked: the job's entry in the DLQ as somebody saw it: only this death is undone, so that who replays from an old list neither
--   replays a job that was replayed since and has died again, nor hurries its retry; '' for whatever state it is in.
--   home: what the caller did about the job's key in a queue that was cut anew: '' nothing so far; 'here': this is its home under
--   `layout`, and every older one answered that it is free; else the number of the loan that its home gave. past: loans that
--   are over.
-- Reply: {verdict, detail}; verdicts: replayed, hurried, duplicate (detail: who holds the key), refused (detail: status),
--   missing; and `keyed` (detail: the key, as it decides the shard), `moved` (begin anew: `layout` is not the newest, which is the
--   detail, or the loan is over), `away` (detail: a loan that may be over).
-- include: now, shard, status, streams, wake, place, layout, holder, keys, total, whole
local name = record(uid)
local wrong = torn(name)
if wrong then return wrong end
local j = redis.call('HMGET', name, 'status', 'task', 'key', 'place', 'priority', 'window', 'follows', 'called', 'token')
j[1] = status_in(j[1], j[9], j[2])
if not j[1] then return { 'missing', '' } end
if picked ~= '' and (j[1] ~= 'failed' or j[4] ~= 'dlq:' .. picked) then return { 'refused', j[1] } end
if j[1] == 'scheduled' and not j[7] then
  enter(uid, stream_of(j[5]))
  redis.call('HSET', name, 'status', 'queued', 'place', '')
  redis.call('ZREM', scheduled, uid)
  wake_owner(nil)
  return { 'hurried', '' }
end
local entry = string.match(j[4] or '', '^dlq:(.+)$')
-- Without an entry in the DLQ it is a stub, its arguments gone.
if j[1] ~= 'failed' or not entry then return { 'refused', j[1] } end
if j[2] and j[3] and not j[6] then
  local number = tonumber(home)
  if home == '' and (heard > 1 or tonumber(layout) > 1) then return { 'keyed', j[2] .. ':' .. j[3] } end
  if number and number <= (tonumber(j[8]) or 0) then return { 'moved', '' } end
  if not number and older then return { 'moved', string.format('%.0f', heard) } end
  local holder = redis.pcall('GET', unique(j[2], j[3]))
  if type(holder) == 'string' and holder ~= uid then
    if LIVE[status_of(holder)] then return { 'duplicate', holder } end
  end
  if not number then
    local loan = lent_to(j[2], j[3], past)
    if loan then return { 'away', loan } end
    take_back(j[2], j[3])
    hear()
  else
    redis.call('HSET', name, 'called', home)
  end
  redis.call('SET', unique(j[2], j[3]), uid)
  count_keys(layout, 1)
  if layout == '1' then
    redis.call('HDEL', name, 'layout')
  else
    redis.call('HSET', name, 'layout', layout)
  end
end
redis.call('HDEL', name, 'error', 'finished', 'attempt', 'crashes', 'cancel', 'follower', 'first', 'parked_by', 'expires')
enter(uid, stream_of(j[5]))
redis.call('HSET', name, 'status', 'queued', 'place', '')
redis.call('XDEL', dlq, entry)
total('replayed', 1)
wake_owner(nil)
return { 'replayed', '' }
