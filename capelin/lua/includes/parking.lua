-- include: tally
-- parking: the lists of parked jobs and the counts of them in `meta`, which name the tasks that have any.
local function park(task, uid)
  if redis.call('ZADD', parked(task), now, uid) == 1 then tally('parked:' .. task, 1) end
end
local function leave_parked(task, uid)
  if redis.call('ZREM', parked(task), uid) == 0 then return end
  if tally('parked:' .. task, -1) <= 0 then redis.call('HDEL', meta, 'parked:' .. task) end
end
