-- take: promotes what is due, delivers up to `count` jobs to `worker`, marks their start and writes the worker's stake, in
--   one step. Safe from any worker. Keeps: 1, 2 (a new token for each start), 3 (no job in flight without a stake), 4 (with
--   `older_than` only what waited that long: stealing), 9 (a bad entry is set aside and the batch goes on).
-- KEYS: meta, never, wake, scheduled, stakes, finished, dlq, *streams
-- ARGV: worker, count, ttl, waits, older_than, resend_window, default_retention, critical, high, normal, low
-- Reply: {jobs, more, next_due, torn, dropped, expired, the clock}; a job is {uid, place, token, task, digest, args, enqueued,
--   priority, expires, attempt, crashes, timeout, retry, headers, parent, cancel, first, correlation, batch, schedule, tick, due},
--   without the nulls at its end
-- include: now, stamp, shard, streams, wake, place, start
-- rarely: cancel, aside
redis.call('PERSIST', meta)
local want = tonumber(count)
local age = older_than ~= '' and tonumber(older_than) or nil
local bound = age and now - age or now
local jobs, torn, dropped, expired = {}, {}, 0, 0

if redis.call('HGET', meta, 'paused') then
  if waits == '1' then redis.call('HSET', meta, 'note', '') end
  return { jobs, 0, false, torn, 0, 0, now }
end

local ELSEWHERE = { scheduled = true, running = true, parked = true, completed = true, failed = true, cancelled = true }
-- Due jobs enter their stream, so that weights and order hold for them as for others.
local promoted = {} -- by stream, those that nobody took yet
for index = 1, #streams do promoted[index] = 0 end
local first = redis.call('ZRANGE', scheduled, 0, 0, 'WITHSCORES')
local promotes = first[2] and tonumber(first[2]) <= bound
for _, uid in ipairs(promotes and redis.call('ZRANGEBYSCORE', scheduled, '-inf', bound, 'LIMIT', 0, want) or {}) do
  local j = redis.pcall('HMGET', record(uid), 'status', 'priority', 'expires', 'token')
  if j.err or not (j[1] == 'queued' or ELSEWHERE[j[1]]) then
    rarely().set_aside(uid)
    torn[#torn + 1] = uid
  elseif j[1] == 'scheduled' and not j[4] and (tonumber(j[3]) or math.huge) <= now then
    rarely().end_cancelled(uid, 'expired')
    expired = expired + 1
  elseif j[1] == 'scheduled' then
    local index = stream_of(j[2])
    enter(uid, index) -- first: where a stream is none, the job stays where it was
    redis.call('HSET', record(uid), 'status', 'queued', 'place', '')
    promoted[index] = promoted[index] + 1
  end
  redis.call('ZREM', scheduled, uid)
end

local drops = {}
local function drop(index, id)
  drops[index] = drops[index] or {}
  table.insert(drops[index], id)
end

-- Whether an entry was known to be one whose job had left.
local function was_stale(index)
  local left = tally('stale:' .. index, -1)
  if left <= 0 then redis.call('HDEL', meta, 'stale:' .. index) end
  return left >= 0
end

-- Starts the job of an entry, or says what is wrong with it: 'stale' or 'torn'.
local function deliver(index, id, uid)
  local j = uid and read_job(uid)
  if not j then return 'torn' end
  if ELSEWHERE[j[1]] or (j[1] == 'queued' and stream_of(j[8], j[2]) ~= index) then
    was_stale(index)
    return 'stale'
  end
  if not j[1] and redis.call('EXISTS', record(uid)) == 0 then return was_stale(index) and 'stale' or 'torn' end
  if j[1] ~= 'queued' or not sound(j) then return 'torn' end
  if not j[3] and tonumber(j[9] or now + 1) <= now then
    rarely().end_cancelled(uid, 'expired')
    expired = expired + 1
    drop(index, id)
  else
    jobs[#jobs + 1] = start(uid, index .. ':' .. id, j)
  end
end

-- How many entries of a stream nobody took and that waited longer than `older_than`.
local function aged(index, most)
  local from = '-'
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', streams[index])) do
    for f = 1, #group, 2 do
      if group[f] == 'last-delivered-id' then from = '(' .. group[f + 1] end
    end
  end
  return #redis.call('XRANGE', streams[index], from, string.format('%.0f', bound), 'COUNT', most)
end

local function read_group(index, most)
  return redis.pcall('XREADGROUP', 'GROUP', 'workers', worker, 'COUNT', most, 'STREAMS', streams[index], '>')
end

local budget = want * 2 + 10 -- entries looked at, so that a heap of dropped ones costs no more than a batch
local exhausted = {} -- by stream, whether it has nothing more that this take may have
-- Takes up to `most` from a stream; true when there may be more in it.
local function read(index, most)
  most = math.min(most, want - #jobs, budget)
  if most <= 0 or exhausted[index] then return false end
  exhausted[index] = redis.call('XLEN', streams[index]) == 0
  if exhausted[index] then return false end
  local old = most
  if age then
    old = aged(index, most)
    most = math.min(most, old + promoted[index])
    if most <= 0 then return false end
  end
  local got = read_group(index, most)
  if got and got.err then
    redis.call('XGROUP', 'CREATE', streams[index], 'workers', '0')
    got = read_group(index, most)
  end
  local entries = got and got[1][2] or {}
  if #entries > old then promoted[index] = promoted[index] - (#entries - old) end
  for _, entry in ipairs(entries) do
    budget = budget - 1
    local id, fields = entry[1], entry[2] or {}
    local uid = fields[1] == 'j' and fields[2] or nil
    local wrong = deliver(index, id, uid)
    if wrong then drop(index, id) end
    if wrong == 'stale' then dropped = dropped + 1 end
    if wrong == 'torn' then
      rarely().set_aside(uid or '?')
      torn[#torn + 1] = uid or id
    end
  end
  exhausted[index] = #entries < most
  return not exhausted[index]
end

earliest = math.huge -- what becomes ready from here on is not seen by this take
local function drain(index)
  while read(index, want) and #jobs < want and budget > 0 do end
end
drain(RETURNED)
for p, share in ipairs({ critical, high, normal, low }) do read(p + 1, tonumber(share)) end
for p = 1, 4 do drain(p + 1) end

for index, ids in pairs(drops) do
  redis.call('XACK', streams[index], 'workers', unpack(ids))
  redis.call('XDEL', streams[index], unpack(ids))
end
if #jobs > 0 then redis.call('ZADD', stakes, 'GT', now + tonumber(ttl), worker) end

if promotes or earliest < math.huge then first = redis.call('ZRANGE', scheduled, 0, 0, 'WITHSCORES') end
local due = first[2] and tonumber(first[2])
if due and due > END_OF_TIME then due = nil end -- a follower waits without a time; and no reply could tell a larger one
local more = #jobs >= want or budget <= 0 or (due and due <= bound) or (not age and earliest == 0)
if waits == '1' and not more then
  redis.call('HSET', meta, 'note', due or '')
elseif age then
  -- What a thief made ready and may not take is the owner's: due jobs it promoted, and what waited for a job that ended here.
  local left = expired + #torn
  for index = 1, #streams do left = left + promoted[index] end
  if left > 0 then wake_owner(nil) end
end
return { jobs, more and 1 or 0, due or false, torn, dropped, expired, now }
