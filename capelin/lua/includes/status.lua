-- include: shard
-- status: where a record says that its job is. One that waits since it was enqueued does not say so: most that wait never waited
-- elsewhere, and the word would cost more than their number of starts, which they lack, too.
local function status_in(status, token, task) return status or (task and not token and 'queued') end
local function status_of(uid)
  local j = redis.pcall('HMGET', record(uid), 'status', 'token', 'task')
  return status_in(j[1], j[2], j[3])
end
