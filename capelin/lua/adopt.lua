-- adopt: hands a worker the jobs that Redis holds running for it and that it does not know (the reply of a take was lost).
-- KEYS: meta, never, wake, scheduled, dlq, *streams
-- ARGV: worker, *running(uid, token)
-- Reply: {jobs, torn}; a job as `take` gives it. Those that are no longer this worker's are left out; what cannot be read is
--   set aside in the DLQ (torn: uids), since no renewal would ever bring it home.
-- include: now, shard, streams, wake, place, aside, start
local jobs, torn = {}, {}
for i = FIRST, #ARGV, STEP do
  local uid, token = running(i)
  local j = read_job(uid)
  if j and j[1] == 'running' and j[3] == token and redis.call('HGET', record(uid), 'worker') == worker then
    if sound(j) then
      jobs[#jobs + 1] = handed(uid, j[2], tonumber(token), j)
    else
      set_aside(uid) -- its entry goes with this worker's next renewal
      torn[#torn + 1] = uid
    end
  end
end
if earliest < math.huge then wake_owner(nil) end
return { jobs, torn }
