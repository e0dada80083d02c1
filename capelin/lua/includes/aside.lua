-- include: bury
-- aside: a job that cannot be read is set aside in the DLQ, where people see it. What can be read of it ends as other dead jobs
-- do, so that its key and its follower do not wait for it.
local TORN = '{"type":"TornRecord","message":"its record in Redis cannot be read"}'
local function set_aside(uid)
  redis.call('XLEN', dlq) -- where the DLQ is no stream, nothing may leave its place for it
  local known = redis.pcall('HLEN', record(uid))
  if type(known) == 'number' and known > 0 then
    pcall(bury, uid, 'torn', TORN)
  else
    redis.call('XADD', dlq, '*', 'j', uid, 'task', '?', 'reason', 'torn')
  end
end
