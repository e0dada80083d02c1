-- reap: the jobs of workers whose stake ended come back, ahead of new work. A consumer without a live stake is dead; it is
--   deleted only at zero pending, in the same script, since deleting one with pending entries orphans them. Keeps: 1, 3, 9, 12.
-- KEYS: meta, never, wake, scheduled, stakes, finished, dlq, *streams
-- ARGV: reaper, limit, max_crashes, no_crash_before, judge_until, resend_window, default_retention
--   no_crash_before: a stake that ended before this moment (ms) ended in an outage and counts no crash; 0 after none.
--   judge_until: the moment (ms) until which the reaper is fit to judge; '' when it always is. A reap that comes later was held
--   up by an outage, in which nobody could renew: it does nothing.
-- Reply: {returned, buried, cancelled, dead workers, more}
-- include: now, shard, status, streams, wake, place, cancel, bury, aside, undone
redis.call('PERSIST', meta)
if judge_until ~= '' and now > tonumber(judge_until) then return { {}, {}, 0, {}, 0 } end
local budget = tonumber(limit)
local returned, buried, cancelled, more = {}, {}, 0, 0
local dead, stake_of = {}, {}
local STAKES_AT_ONCE = 50

local LOST = '{"type":"WorkerLost","message":"the worker died while it ran the job"}'

local function give_back(index, id, uid, owner)
  local name = record(uid)
  local j = redis.call('HMGET', name, 'status', 'worker', 'place', 'token', 'attempt', 'crashes', 'cancel', 'started',
    'max_crashes', 'task')
  local status = status_in(j[1], j[4], j[10])
  if not status then error('torn') end
  if status == 'queued' then
    hand_back(uid)
    returned[#returned + 1] = uid
    return
  end
  if status ~= 'running' or j[2] ~= owner then return end
  if string.find(j[3] or '', '^%d:%d+%-%d+$') and j[3] ~= index .. ':' .. id then return end -- it runs under another entry
  local crashed = (stake_of[owner] or now) >= tonumber(no_crash_before)
  local crashes = (tonumber(j[6]) or 0) + (crashed and 1 or 0)
  redis.call('HSET', name, 'last', 'reaped', 'crashes', crashes)
  note_failure(uid, j[4] or 0, j[5] or 0, crashes, owner, j[8], LOST)
  if j[7] then
    end_cancelled(uid, 'cancelled')
    cancelled = cancelled + 1
  elseif crashed and crashes >= (tonumber(j[9]) or tonumber(max_crashes)) then
    buried[#buried + 1] = uid
    bury(uid, 'WorkerLost', LOST)
  else
    hand_back(uid)
    returned[#returned + 1] = uid
  end
end

local function pending_of(index, owner, most)
  if redis.call('EXISTS', streams[index]) == 0 then return {} end
  local pending = redis.pcall('XPENDING', streams[index], 'workers', '-', '+', most, owner)
  return pending.err and {} or pending -- nobody ever took from it: it has no group yet
end

local function clear(owner)
  for index = 1, #streams do
    local ids = {}
    for _, entry in ipairs(budget > 0 and pending_of(index, owner, budget) or {}) do
      local id = entry[1]
      local found = redis.call('XRANGE', streams[index], id, id)
      local uid = found[1] and found[1][2][2]
      if uid and not pcall(give_back, index, id, uid, owner) then
        local status = status_of(uid)
        if status == 'running' or not status then set_aside(uid) end
      end
      ids[#ids + 1] = id
      budget = budget - 1
    end
    if #ids > 0 then
      redis.call('XACK', streams[index], 'workers', unpack(ids))
      redis.call('XDEL', streams[index], unpack(ids))
    end
  end
  for index = 1, #streams do
    if #pending_of(index, owner, 1) > 0 then
      more = 1
      return
    end
  end
  for index = 1, #streams do
    if redis.call('EXISTS', streams[index]) == 1 then redis.pcall('XGROUP', 'DELCONSUMER', streams[index], 'workers', owner) end
  end
  redis.call('ZREM', stakes, owner)
end

local seen = {}
local expired = redis.call('ZRANGEBYSCORE', stakes, '-inf', now, 'WITHSCORES', 'LIMIT', 0, STAKES_AT_ONCE)
if #expired == STAKES_AT_ONCE * 2 then more = 1 end
for i = 1, #expired, 2 do
  local owner = expired[i]
  stake_of[owner] = tonumber(expired[i + 1])
  if owner ~= reaper then
    dead[#dead + 1] = owner
    seen[owner] = true
  end
end
-- Consumers without a stake: those with entries pending are dead and their stake was lost; of the others only the name goes, to
-- come back with the next job they take.
for index = 1, #streams do
  if redis.call('EXISTS', streams[index]) == 1 then
    local consumers = redis.pcall('XINFO', 'CONSUMERS', streams[index], 'workers')
    for _, consumer in ipairs(consumers.err and {} or consumers) do
      local c = {}
      for f = 1, #consumer, 2 do c[consumer[f]] = consumer[f + 1] end
      local owner = c.name
      if owner ~= reaper and not seen[owner] and not redis.call('ZSCORE', stakes, owner) then
        if c.pending > 0 then
          seen[owner] = true
          dead[#dead + 1] = owner
        else
          redis.call('XGROUP', 'DELCONSUMER', streams[index], 'workers', owner)
        end
      end
    end
  end
end
for _, owner in ipairs(dead) do clear(owner) end
if earliest < math.huge then wake_owner(nil) end
return { returned, buried, cancelled, dead, more }
