-- include: now, stamp, shard
-- start: a job begins to run. One list of fields for every script that hands jobs to a worker, in the order of `Delivery`: first those
-- that most records have, so that a reply ends early. The rest is read of those records alone that have more fields than these.
local USUAL = { 'status', 'place', 'token', 'task', 'd', 'a', 'at', 'priority', 'expires' }
local FURTHER = { 'attempt', 'crashes', 'timeout', 'retry', 'headers', 'parent', 'cancel', 'first', 'correlation', 'batch',
  'schedule', 'tick', 'due' }
-- The record, or nil when the key is no record at all.
local function read_job(uid)
  local name = record(uid)
  local j = redis.pcall('HMGET', name, unpack(USUAL))
  if j.err then return nil end
  local found = 0
  for f = 1, #USUAL do
    if j[f] then found = found + 1 end
  end
  if found > 0 and redis.call('HLEN', name) > found then
    local further = redis.call('HMGET', name, unpack(FURTHER))
    for f = 1, #FURTHER do j[#USUAL + f] = further[f] end
  end
  j[1] = j[1] or (j[4] and not j[3] and 'queued') -- as in `status`
  return j
end
-- What a worker is handed of it.
local function handed(uid, place, token, j)
  local last = #USUAL + #FURTHER
  while not j[last] do last = last - 1 end
  return { uid, place, token, unpack(j, 4, last) }
end
-- A number that Lua and the worker read alike: beyond 15 digits a double does not hold each, nor a date every moment.
local function whole(text) return not text or (#text <= 15 and string.find(text, '^%d+$') ~= nil) end
local END_OF_TIME = 253402300799000 -- the last second that dates know, ms
-- Whether a worker can read the record: what it cannot read would cost it the whole reply.
local function sound(j)
  if not (j[4] and whole(j[3]) and whole(j[7]) and whole(j[9])) then return false end
  local timeout = not j[12] or (string.find(j[12], '^[%d.eE+-]+$') and tonumber(j[12]))
  return timeout and whole(j[10]) and whole(j[11]) and whole(j[17]) and whole(j[21]) and tonumber(j[21] or 0) <= END_OF_TIME
end
local function start(uid, place, j)
  local token = (tonumber(j[3]) or 0) + 1
  redis.call('HSET', record(uid), 'status', 'running', 'worker', worker, 'token', token, 'started', stamp, 'place', place)
  return handed(uid, place, token, j)
end
