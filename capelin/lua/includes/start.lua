-- include: now, stamp, shard
-- start: a job begins to run. One list of fields for every script that hands jobs to a worker, in the order of `Delivery`.
local STARTING = { 'status', 'place', 'token', 'task', 'digest', 'args', 'attempt', 'crashes', 'timeout', 'retry', 'headers',
  'parent', 'enqueued', 'expires', 'cancel', 'first', 'correlation', 'batch', 'schedule', 'tick', 'due', 'priority' }
-- The record, or nil when the key is no record at all.
local function read_job(uid)
  local j = redis.pcall('HMGET', record(uid), unpack(STARTING))
  if j.err then return nil end
  return j
end
-- A number that Lua and the worker read alike: beyond 15 digits a double does not hold each, nor a date every moment.
local function whole(text) return not text or (#text <= 15 and string.find(text, '^%d+$') ~= nil) end
local END_OF_TIME = 253402300799000 -- the last second that dates know, ms
-- Whether a worker can read the record: what it cannot read would cost it the whole reply.
local function sound(j)
  local timeout = not j[9] or (string.find(j[9], '^[%d.eE+-]+$') and tonumber(j[9]))
  return j[4] and timeout and whole(j[3]) and whole(j[7]) and whole(j[8]) and whole(j[13]) and whole(j[14]) and whole(j[16])
    and whole(j[20]) and tonumber(j[20] or 0) <= END_OF_TIME
end
local function start(uid, place, j)
  local token = (tonumber(j[3]) or 0) + 1
  redis.call('HSET', record(uid), 'status', 'running', 'worker', worker, 'token', token, 'started', stamp, 'place', place)
  return { uid, place, token, unpack(j, 4, #STARTING) }
end
