-- survey: how a shard stands, for people and for metrics. Reads only; O(streams, workers and parked tasks), never O(backlog).
-- KEYS: meta, never, lease, scheduled, finished, dlq, *streams
-- ARGV:
-- Reply: {clock, meta, streams, running, {scheduled, followers, next_due, finished, dead}, {owner, epoch, expires}}
--   meta: the hash, flat. streams: {length, pending, oldest}; oldest: the ms at which the first entry that nobody took was
--   added. running: {worker, jobs}, a worker once a stream.
-- include: now, shard, status
local LOOKED_AT = 20 -- entries whose job left by another door may stand first

local function undelivered_from(stream)
  local groups = redis.pcall('XINFO', 'GROUPS', stream)
  for _, group in ipairs(groups.err and {} or groups) do
    for f = 1, #group, 2 do
      if group[f] == 'last-delivered-id' then return '(' .. group[f + 1] end
    end
  end
  return '-'
end

local function oldest_in(stream)
  local moment = ''
  for _, entry in ipairs(redis.call('XRANGE', stream, undelivered_from(stream), '+', 'COUNT', LOOKED_AT)) do
    moment = string.match(entry[1], '^(%d+)')
    local uid = entry[2] and entry[2][2]
    if uid and status_of(uid) == 'queued' then return moment end
  end
  return moment
end

local standing, running = {}, {}
for index, stream in ipairs(streams) do
  local length = redis.call('XLEN', stream)
  local pending = 0
  if length > 0 then
    local summary = redis.pcall('XPENDING', stream, 'workers')
    if not summary.err then
      pending = summary[1]
      for _, consumer in ipairs(summary[4] or {}) do
        running[#running + 1] = { consumer[1], tonumber(consumer[2]) }
      end
    end
  end
  standing[index] = { length, pending, length > pending and oldest_in(stream) or '' }
end
local first = redis.call('ZRANGE', scheduled, 0, 0, 'WITHSCORES')
local next_due = ''
if first[2] and tonumber(first[2]) < math.huge then next_due = string.format('%.0f', tonumber(first[2])) end
local held = redis.call('HMGET', lease, 'owner', 'epoch', 'expires')
return {
  now,
  redis.call('HGETALL', meta),
  standing,
  running,
  {
    redis.call('ZCARD', scheduled),
    redis.call('ZCOUNT', scheduled, '+inf', '+inf'),
    next_due,
    redis.call('ZCARD', finished),
    redis.call('XLEN', dlq),
  },
  { held[1] or '', held[2] or '', held[3] or '' },
}
