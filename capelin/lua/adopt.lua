-- adopt: hands a worker the jobs that Redis holds running for it and that it does not know (the reply of a take was lost).
-- KEYS: meta, never
-- ARGV: worker, *running(uid, token)
-- Reply: jobs, each as `take` gives them; those that are no longer this worker's are left out.
-- include: shard, start
local jobs = {}
for i = FIRST, #ARGV, STEP do
  local uid, token = running(i)
  local j = read_job(uid)
  if j and j[1] == 'running' and j[3] == token and sound(j) and redis.call('HGET', record(uid), 'worker') == worker then
    jobs[#jobs + 1] = { uid, j[2], tonumber(token), unpack(j, 4, #STARTING) }
  end
end
return jobs
