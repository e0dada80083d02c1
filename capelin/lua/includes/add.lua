-- include: now, place
-- add: writes a new job. `extra` holds record fields that most jobs lack, and `expires_in` (ms from the due moment).
local function add(uid, task, digest, args, priority, due, extra)
  local fields = { 'task', task, 'status', 'queued', 'enqueued', now }
  local n = 6
  local function put(name, value)
    fields[n + 1], fields[n + 2] = name, value
    n = n + 2
  end
  if digest ~= '' then put('digest', digest) end
  if args ~= '' then put('args', args) end
  if priority ~= '' and priority ~= 'normal' then put('priority', priority) end
  local at = moment(due)
  if extra then
    for name, value in pairs(extra) do
      if name == 'expires_in' then
        put('expires', (at or now) + math.floor(tonumber(value)))
      else
        put(name, value)
      end
    end
  end
  if extra and extra.follows then
    fields[4] = 'scheduled'
    if due ~= '' then put('delay', due) end
    redis.call('HSET', record(uid), unpack(fields))
    redis.call('ZADD', scheduled, '+inf', uid)
  elseif at and at > now then
    fields[4] = 'scheduled'
    put('due', at)
    redis.call('HSET', record(uid), unpack(fields))
    schedule(uid, at)
  else
    redis.call('HSET', record(uid), unpack(fields))
    enter(uid, stream_of(priority))
  end
end
-- A job that an end adds. Its uid says which end, so that it is added once.
local function add_child(parent, uid, task, digest, args, priority, due, extra)
  if redis.call('EXISTS', record(uid)) == 1 then return end
  extra.parent = parent
  add(uid, task, digest, args, priority, due, extra)
end
-- A request stored as JSON with its parent: [task, digest, args, priority, due, extra].
local function add_stored(parent, uid, request)
  local row = cjson.decode(request)
  add_child(parent, uid, row[1], row[2], row[3], row[4], row[5], type(row[6]) == 'table' and row[6] or {})
end
