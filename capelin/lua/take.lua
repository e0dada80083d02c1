-- take: promotes what is due, delivers up to `count` jobs to `worker`, marks their start and writes the worker's stake, in
--   one step. Safe from any worker. Keeps: 1, 2 (a new token for each start), 3 (no job in flight without a stake), 4 (with
--   `older_than` only what waited that long: stealing), 9 (a bad entry is set aside and the batch goes on).
-- KEYS: meta, wake, scheduled, stakes, finished, dlq, *streams
-- ARGV: worker, count, ttl, waits, older_than, resend_window, default_retention, critical, high, normal, low
-- Reply: {jobs, more, next_due, torn, dropped, expired, the clock}; a job is {uid, place, token, task, digest, args, attempt, crashes,
--   timeout, retry, headers, parent, enqueued, expires, cancel, first, correlation, batch, priority}
-- include: now, shard, streams, wake, place, cancel
redis.call('PERSIST', meta)
local want = tonumber(count)
local age = older_than ~= '' and tonumber(older_than) or nil
local state = redis.call('HMGET', meta, 'paused')
local jobs, torn, dropped, expired = {}, {}, 0, 0

local function next_due()
  local first = redis.call('ZRANGE', scheduled, 0, 0, 'WITHSCORES')
  local due = first[2] and tonumber(first[2])
  if due and due < math.huge then return due end
  return nil
end

if state[1] then
  if waits == '1' then redis.call('HSET', meta, 'note', '') end
  return { jobs, 0, false, torn, 0, 0, now }
end

-- Due jobs enter their stream, so that weights and order hold for them as for others.
local promoted = 0
do
  local bound = age and now - age or now
  local due = redis.call('ZRANGEBYSCORE', scheduled, '-inf', bound, 'LIMIT', 0, want)
  for _, uid in ipairs(due) do
    local ok, j = pcall(redis.call, 'HMGET', record(uid), 'status', 'priority', 'expires', 'token')
    redis.call('ZREM', scheduled, uid)
    if ok and j[1] == 'scheduled' then
      if j[3] and not j[4] and tonumber(j[3]) <= now then
        end_cancelled(uid, 'expired')
        expired = expired + 1
      else
        redis.call('HSET', record(uid), 'status', 'queued', 'place', '')
        enter(uid, STREAM_OF[j[2] or 'normal'] or NORMAL)
        promoted = promoted + 1
      end
    elseif not ok then
      redis.call('XADD', dlq, '*', 'j', uid, 'task', '?', 'reason', 'torn')
      torn[#torn + 1] = uid
    end
  end
end

local drops = {}
local function drop(index, id)
  drops[index] = drops[index] or {}
  table.insert(drops[index], id)
end

local function deliver(index, id, uid)
  local name = record(uid)
  local j = redis.call('HMGET', name, 'status', 'task', 'token', 'digest', 'args', 'attempt', 'crashes', 'timeout', 'retry',
    'headers', 'parent', 'enqueued', 'expires', 'cancel', 'first', 'correlation', 'batch', 'priority', 'alias')
  if j[1] ~= 'queued' then
    drop(index, id)
    if j[1] and j[2] or redis.call('EXISTS', name) == 0 then
      dropped = dropped + 1
      if redis.call('HINCRBY', meta, 'stale:' .. index, -1) <= 0 then redis.call('HDEL', meta, 'stale:' .. index) end
      return
    end
    error('torn')
  end
  if not j[2] or (j[3] and not tonumber(j[3])) then
    drop(index, id)
    error('torn')
  end
  local token = (tonumber(j[3]) or 0) + 1
  if token == 1 and j[13] and tonumber(j[13]) <= now then
    drop(index, id)
    end_cancelled(uid, 'expired')
    expired = expired + 1
    return
  end
  local place = index .. ':' .. id
  redis.call('HSET', name, 'status', 'running', 'worker', worker, 'token', token, 'started', now, 'place', place)
  jobs[#jobs + 1] = { uid, place, token, j[2], j[4], j[5], j[6], j[7], j[8], j[9], j[10], j[11], j[12], j[13], j[14], j[15],
    j[16], j[17], j[18] }
end

-- How many entries of a stream nobody took and that waited longer than `older_than`.
local function aged(index, most)
  local from = '-'
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', streams[index])) do
    for f = 1, #group, 2 do
      if group[f] == 'last-delivered-id' then from = '(' .. group[f + 1] end
    end
  end
  local bound = string.format('%.0f', now - age)
  return #redis.call('XRANGE', streams[index], from, bound, 'COUNT', most)
end

local budget = want * 2 + 10 -- entries looked at, so that a heap of dropped ones costs no more than a batch
local function read(index, most)
  most = math.min(most, want - #jobs, budget)
  if most <= 0 or redis.call('XLEN', streams[index]) == 0 then return end
  if age then
    most = math.min(most, aged(index, most) + promoted)
    if most <= 0 then return end
  end
  local got = redis.pcall('XREADGROUP', 'GROUP', 'workers', worker, 'COUNT', most, 'STREAMS', streams[index], '>')
  if got and got.err then
    redis.call('XGROUP', 'CREATE', streams[index], 'workers', '0')
    got = redis.call('XREADGROUP', 'GROUP', 'workers', worker, 'COUNT', most, 'STREAMS', streams[index], '>')
  end
  if not got then return end
  for _, entry in ipairs(got[1][2]) do
    budget = budget - 1
    local id, uid = entry[1], entry[2] and entry[2][2]
    if not uid or not pcall(deliver, index, id, uid) then
      drop(index, id)
      torn[#torn + 1] = uid or id
      redis.call('XADD', dlq, '*', 'j', uid or '?', 'task', '?', 'reason', 'torn')
    end
  end
  return #got[1][2] == most
end

local filled = false
if want > 0 then
  while read(RETURNED, want) and #jobs < want and budget > 0 do end
  local share = { tonumber(critical), tonumber(high), tonumber(normal), tonumber(low) }
  for p = 1, 4 do read(p + 1, share[p]) end
  for p = 1, 4 do
    while read(p + 1, want) and #jobs < want and budget > 0 do end
  end
  filled = #jobs >= want or budget <= 0
end
for index, ids in pairs(drops) do
  redis.call('XACK', streams[index], 'workers', unpack(ids))
  redis.call('XDEL', streams[index], unpack(ids))
end
if #jobs > 0 then
  local until_ = now + tonumber(ttl)
  redis.call('ZADD', stakes, 'GT', until_, worker)
end
local due = next_due()
if not filled and due and due <= now then filled = true end
if waits == '1' and not filled then
  redis.call('HSET', meta, 'note', due or '')
elseif age and promoted > #jobs then
  wake_owner(nil)
end
return { jobs, filled and 1 or 0, due or false, torn, dropped, expired, now }
