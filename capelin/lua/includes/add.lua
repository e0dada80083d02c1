-- include: now, stamp, place
-- add: writes a new job, its place first: a record without one would answer a re-sent request as if all were well. `extra` holds
--   record fields that most jobs lack, and `expires_in` (ms from the due moment).
local function add(uid, task, digest, args, priority, due, extra)
  local fields = { 'task', task, 'status', 'queued', 'enqueued', stamp }
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
        -- What follows a job that follows another: stored as JSON inside JSON it would double its quotes at each step.
        put(name, type(value) == 'table' and cjson.encode(value) or value)
      end
    end
  end
  if extra and extra.follows then
    fields[4] = 'scheduled'
    if due ~= '' then put('delay', due) end
    redis.call('ZADD', scheduled, '+inf', uid)
    redis.call('HSET', record(uid), unpack(fields))
  elseif at and at > now then
    fields[4] = 'scheduled'
    put('due', at)
    schedule(uid, at)
    redis.call('HSET', record(uid), unpack(fields))
  else
    enter(uid, stream_of(priority))
    redis.call('HSET', record(uid), unpack(fields))
  end
end
