-- include: free, keep, tell, total
-- cancel: a job that does not run (any more) ends cancelled. Its place in a stream or set is the caller's to clear. It is kept
-- before its key and its follower are freed: whatever those look like, the job has its new place.
local ENDING = { 'task', 'key', 'window', 'follower', 'waited', 'retention', 'at', 'follows', 'layout' }
local function end_cancelled(uid, reason)
  local name = record(uid)
  local j = redis.call('HMGET', name, unpack(ENDING))
  local why = '{"type":"JobCancelled","message":"' .. reason .. '"}'
  redis.call('HSET', name, 'status', 'cancelled', 'finished', now, 'error', why)
  keep(uid, j[6], j[7], j[5])
  if j[8] then redis.pcall('HDEL', record(j[8]), 'follower') end
  free_key(uid, j[1] or '?', j[2], j[3], j[4], j[9])
  if j[5] then tell(uid, 'cancelled') end
  total('cancelled', 1)
end
