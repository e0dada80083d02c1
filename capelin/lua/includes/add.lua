-- include: now, stamp, place
-- add: writes a new job, its place first: a record without one would answer a re-sent request as if all were well. `extra` holds
--   record fields that most jobs lack, and `expires_in` (ms from the due moment).
local function put(fields, name, value)
  local n = #fields
  fields[n + 1], fields[n + 2] = name, value
end
local function put_extra(fields, extra, from)
  for name, value in pairs(extra) do
    if name == 'expires_in' then
      put(fields, 'expires', from + math.floor(tonumber(value)))
    else
      -- What follows a job that follows another: stored as JSON inside JSON it would double its quotes at each step.
      put(fields, name, type(value) == 'table' and cjson.encode(value) or value)
    end
  end
end
local function add(uid, task, digest, args, priority, due, extra)
  local fields
  if digest ~= '' and args ~= '' then -- as most have; a table that is made at once costs less than one that grows
    fields = { 'task', task, 'at', stamp, 'd', digest, 'a', args }
  else
    fields = { 'task', task, 'at', stamp }
    if digest ~= '' then put(fields, 'd', digest) end
    if args ~= '' then put(fields, 'a', args) end
  end
  if priority ~= '' and priority ~= 'normal' then put(fields, 'priority', priority) end
  local at = due ~= '' and moment(due)
  if extra then put_extra(fields, extra, at or now) end
  if extra and extra.follows then
    put(fields, 'status', 'scheduled')
    if due ~= '' then put(fields, 'delay', due) end
    redis.call('ZADD', scheduled, '+inf', uid)
  elseif at and at > now then
    put(fields, 'status', 'scheduled')
    put(fields, 'due', at)
    schedule(uid, at)
  else
    enter(uid, stream_of(priority))
  end
  redis.call('HSET', record(uid), unpack(fields))
end
