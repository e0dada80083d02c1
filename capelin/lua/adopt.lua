-- adopt: hands a worker the jobs that Redis holds running for it and that it does not know (the reply of a take was lost).
-- KEYS: meta
-- ARGV: worker, *running(uid, token)
-- Reply: jobs, each as `take` gives them; those that are no longer this worker's are left out.
-- include: shard
local jobs = {}
for i = FIRST, #ARGV, STEP do
  local uid, token = running(i)
  local j = redis.call('HMGET', record(uid), 'status', 'worker', 'token', 'place', 'task', 'digest', 'args', 'attempt',
    'crashes', 'timeout', 'retry', 'headers', 'parent', 'enqueued', 'expires', 'cancel', 'first', 'correlation', 'batch',
    'priority')
  if j[1] == 'running' and j[2] == worker and j[3] == token then
    jobs[#jobs + 1] = { uid, j[4], tonumber(token), j[5], j[6], j[7], j[8], j[9], j[10], j[11], j[12], j[13], j[14], j[15],
      j[16], j[17], j[18], j[19], j[20] }
  end
end
return jobs
