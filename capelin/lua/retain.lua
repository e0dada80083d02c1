-- retain: what has had its time goes: finished records, the oldest of the DLQ, and jobs parked too long, which are
--   dead-lettered. O(limit).
-- KEYS: meta, wake, scheduled, finished, dlq, *streams
-- ARGV: limit, resend_window, default_retention, most_finished, dlq_age, most_dead, parked_age
-- Reply: {trimmed, dead purged, dead-lettered, more}
-- include: now, shard, streams, wake, place, bury, trim
redis.call('PERSIST', meta)
local budget = tonumber(limit)
local trimmed = trim(tonumber(most_finished), budget)
local purged = 0
local function purge(entries)
  for _, entry in ipairs(entries) do
    local uid = entry[2] and entry[2][2]
    redis.call('XDEL', dlq, entry[1])
    purged = purged + 1
    if uid then
      local ok, j = pcall(redis.call, 'HMGET', record(uid), 'status', 'place')
      if ok and j[1] == 'failed' and j[2] == 'dlq:' .. entry[1] then redis.call('UNLINK', record(uid), failures(uid)) end
    end
  end
end
purge(redis.call('XRANGE', dlq, '-', string.format('%.0f', now - tonumber(dlq_age)), 'COUNT', budget))
local beyond = redis.call('XLEN', dlq) - tonumber(most_dead)
if beyond > 0 then purge(redis.call('XRANGE', dlq, '-', '+', 'COUNT', math.min(beyond, budget))) end
local buried = 0
local fields = redis.call('HGETALL', meta)
for i = 1, #fields, 2 do
  local name = string.match(fields[i], '^parked:(.+)$')
  if name then
    local old = redis.call('ZRANGEBYSCORE', parked(name), '-inf', now - tonumber(parked_age), 'LIMIT', 0, budget - buried)
    for _, uid in ipairs(old) do
      redis.call('ZREM', parked(name), uid)
      redis.call('HINCRBY', meta, fields[i], -1)
      local by = redis.call('HGET', record(uid), 'parked_by')
      local reason = (by and by ~= '') and 'NewerSignature' or 'UnknownTask'
      bury(uid, reason, '{"type":"' .. reason .. '","message":"no worker could run it before its time was over"}')
      buried = buried + 1
    end
    if tonumber(redis.call('HGET', meta, fields[i]) or 0) <= 0 then redis.call('HDEL', meta, fields[i]) end
  end
end
if earliest < math.huge then wake_owner(earliest > 0 and earliest or nil) end
local more = (trimmed >= budget or purged >= budget or buried >= budget) and 1 or 0
return { trimmed, purged, buried, more }
