-- renew: keeps a worker's stake and lease in a shard, and holds the process's list of running jobs against Redis's. An
--   expired stake or lease that nobody took over is renewed with the same epoch. Keeps: 3, 5, 6, 9, 12.
-- KEYS: meta, never, wake, scheduled, lease, stakes, dlq, *streams
-- ARGV: worker, ttl, epoch, staked, *running(uid, token)
--   epoch: '' when the worker does not own the shard; staked: 1 to keep a stake even with nothing running (an unanswered take).
-- Reply: {lease, lost, cancelled, unknown, pending, next_stake, the clock, torn}. lease: kept, lost or none; lost and cancelled:
--   uids of the list; unknown: {uid, token} that Redis holds running for this worker and the list lacks; pending: entries of
--   this worker; next_stake: ms until the next stake of another worker ends, or nothing; torn:
--   what could not be read and was set aside.
-- include: now, shard, status, streams, wake, place, aside, undone
redis.call('PERSIST', meta)
local until_ = now + tonumber(ttl)
local kept = 'none'
if epoch ~= '' then
  local held = redis.pcall('HMGET', lease, 'owner', 'epoch')
  if held[1] == worker and held[2] == epoch then
    redis.call('HSET', lease, 'expires', until_)
    kept = 'kept'
  else
    kept = 'lost'
  end
end
local lost, cancelled, unknown, known, torn = {}, {}, {}, {}, {}
for i = FIRST, #ARGV, STEP do
  local uid, token = running(i)
  local j = redis.pcall('HMGET', record(uid), 'status', 'worker', 'token', 'place', 'cancel')
  if j[1] == 'running' and j[2] == worker and j[3] == token then
    known[j[4] or ''] = true
    if j[5] then cancelled[#cancelled + 1] = uid end
  else
    lost[#lost + 1] = uid
  end
end

-- A record that says of itself what cannot be: that it has no such status, or that it waits, or runs elsewhere, in this entry.
local ENDED = { completed = true, failed = true, cancelled = true }
local ELSEWHERE = { queued = true, scheduled = true, parked = true, running = true }
local function lies(j, here)
  if j.err or not (ENDED[j[1]] or ELSEWHERE[j[1]]) then return true end
  return not ENDED[j[1]] and j[4] == here
end
local function place_of(text) return string.find(text or '', '^[1-6]:%d+%-%d+$') ~= nil end
local function is_token(text) return #text <= 15 and string.find(text, '^%d+$') ~= nil end

-- An entry that the list does not explain: a start whose delivery was lost, a leftover, or one that cannot be read.
local function explain(index, id)
  local found = redis.call('XRANGE', streams[index], id, id)
  local uid = found[1] and found[1][2][2]
  local here = index .. ':' .. id
  local j = uid and redis.pcall('HMGET', record(uid), 'status', 'worker', 'token', 'place', 'task')
  if j then j[1] = status_in(j[1], j[3], j[5]) end
  if j and j[1] == 'running' and j[2] == worker and is_token(j[3] or '') and place_of(j[4]) then
    if j[4] == here then unknown[#unknown + 1] = { uid, tonumber(j[3]) } end
    return true
  end
  if j and j[1] == 'queued' and not lies(j, here) then
    hand_back(uid)
  elseif j and (lies(j, here) or (j[1] == 'running' and not place_of(j[4]))) then
    set_aside(uid)
    torn[#torn + 1] = uid
  end
  redis.call('XACK', streams[index], 'workers', id)
  redis.call('XDEL', streams[index], id)
  return false
end

local pending_here = 0
for index = 1, #streams do
  if redis.call('XLEN', streams[index]) > 0 then
    local pending = redis.pcall('XPENDING', streams[index], 'workers', '-', '+', 500, worker)
    for _, entry in ipairs(pending.err and {} or pending) do
      if known[index .. ':' .. entry[1]] or explain(index, entry[1]) then pending_here = pending_here + 1 end
    end
  end
end
if pending_here > 0 or staked == '1' then
  redis.call('ZADD', stakes, until_, worker)
else
  redis.call('ZREM', stakes, worker)
end
local first = redis.call('ZRANGE', stakes, 0, 1, 'WITHSCORES')
local MOST = 2 ^ 53 -- what a reply can tell
local next_stake = first[1] == worker and first[4] or first[1] ~= worker and first[2]
local ends_in = next_stake and math.max(0, math.min(tonumber(next_stake) - now, MOST)) or false
if earliest < math.huge then wake_owner(nil) end
return { kept, lost, cancelled, unknown, pending_here, ends_in, now, torn }
