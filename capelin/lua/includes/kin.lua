-- include: add, total
-- kin: jobs that the end of another adds.
-- The chain and the batch that a job belongs to. Read them before its record may be cut.
local function kin_of(uid)
  local kin = redis.call('HMGET', record(uid), 'correlation', 'batch')
  return { kin[1] or job_id(uid), kin[2] }
end
-- A job that an end adds: of its parent's chain, and of its batch if it names none. Its uid says which end, so that it is added
-- once.
local function add_child(parent, kin, uid, task, digest, args, priority, due, extra)
  if redis.call('EXISTS', record(uid)) == 1 then return end
  extra.parent = parent
  extra.correlation = kin[1]
  extra.batch = extra.batch or kin[2] or nil
  add(uid, task, digest, args, priority, due, extra)
  total('enqueued', 1)
end
-- The uid of what follows a success. A job succeeds once, so the place in the chain is enough, and no chain makes it long.
local function next_uid(uid)
  local first, place = string.match(uid, '^(.+)%-t(%d+)$')
  return (first or uid) .. '-t' .. string.format('%.0f', (tonumber(place) or 0) + 1)
end
-- A request stored as JSON with its parent: [task, digest, args, priority, due, extra].
local function add_next(parent, kin, request)
  local row = cjson.decode(request)
  local extra = type(row[6]) == 'table' and row[6] or {}
  add_child(parent, kin, next_uid(parent), row[1], row[2], row[3], row[4], row[5], extra)
end
