-- retain: what has had its time goes: finished records, the oldest of the DLQ, jobs parked too long, which are dead-lettered,
--   and streams that are empty, with their group and the names of its consumers; the next job makes them anew. O(limit).
-- KEYS: meta, never, wake, scheduled, finished, dlq, *streams
-- ARGV: limit, resend_window, default_retention, most_finished, dlq_age, most_dead, parked_age
-- Reply: {trimmed, dead purged, dead-lettered, more, parked, torn}; parked: {task, digest, parked_by} of the oldest of each task
--   that are left, each once, for whoever can find them a worker; torn: what was set aside.
-- include: now, shard, streams, wake, place, parking, aside, trim, strangers
redis.call('PERSIST', meta)
local budget = tonumber(limit)
local trimmed = trim(tonumber(most_finished), budget)
local purged = 0
local function purge(entries)
  for _, entry in ipairs(entries) do
    local fields = entry[2] or {}
    local uid = fields[1] == 'j' and fields[2]
    redis.call('XDEL', dlq, entry[1])
    purged = purged + 1
    local j = uid and redis.pcall('HMGET', record(uid), 'status', 'place', 'at', 'waited', 'finished')
    if j and j.err then
      redis.call('UNLINK', record(uid), failures(uid))
    elseif j and j[1] == 'failed' and j[2] == 'dlq:' .. entry[1] then
      cut(uid, needed_until(j[3], j[4], tonumber(j[5]) or 0), j[4])
    end
  end
end
purge(redis.call('XRANGE', dlq, '-', string.format('%.0f', now - tonumber(dlq_age)), 'COUNT', budget))
local beyond = redis.call('XLEN', dlq) - tonumber(most_dead)
if beyond > 0 then purge(redis.call('XRANGE', dlq, '-', '+', 'COUNT', math.min(beyond, budget))) end

local buried = 0
local waiting, seen = {}, {}
local SAMPLE = 20
local function look_at(name)
  for _, uid in ipairs(redis.call('ZRANGE', parked(name), 0, SAMPLE - 1)) do
    local j = redis.pcall('HMGET', record(uid), 'd', 'parked_by')
    local row = { name, j[1] or '', j[2] or '' }
    local text = table.concat(row, ' ')
    if not j.err and not seen[text] then
      seen[text] = true
      waiting[#waiting + 1] = row
    end
  end
end
local fields = redis.call('HGETALL', meta)
for i = 1, #fields, 2 do
  local name = string.match(fields[i], '^parked:(.+)$')
  if name then
    local old = redis.call('ZRANGEBYSCORE', parked(name), '-inf', now - tonumber(parked_age), 'LIMIT', 0, budget - buried)
    for _, uid in ipairs(old) do
      leave_parked(name, uid)
      local j = redis.pcall('HMGET', record(uid), 'status', 'parked_by')
      if j[1] == 'parked' then
        local reason = (j[2] and j[2] ~= '') and 'NewerSignature' or 'UnknownTask'
        pcall(bury, uid, reason, '{"type":"' .. reason .. '","message":"no worker could run it before its time was over"}')
      elseif not j[1] then
        set_aside(uid)
      end
      buried = buried + 1
    end
    look_at(name)
  end
end
local torn = set_strangers_aside()
for _, stream in ipairs(streams) do
  if redis.call('XLEN', stream) == 0 then
    local pending = redis.pcall('XPENDING', stream, 'workers')
    if pending.err or pending[1] == 0 then redis.call('UNLINK', stream) end
  end
end
if earliest < math.huge then wake_owner(earliest > 0 and earliest or nil) end
local more = (trimmed >= budget or purged >= budget or buried >= budget) and 1 or 0
return { trimmed, purged, buried, more, waiting, torn }
