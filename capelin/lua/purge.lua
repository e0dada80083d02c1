-- purge: removes dead jobs for good.
-- KEYS: meta, never, dlq
-- ARGV: *dead(uid, entry)
-- Reply: how many entries went.
-- include: shard, whole
local wrong = torn()
if wrong then return wrong end
local gone = 0
for i = FIRST, #ARGV, STEP do
  local uid, entry = dead(i)
  if redis.call('XDEL', dlq, entry) == 1 then
    gone = gone + 1
    local j = redis.pcall('HMGET', record(uid), 'status', 'place')
    if j.err or (j[1] == 'failed' and j[2] == 'dlq:' .. entry) then
      redis.call('UNLINK', record(uid), failures(uid))
    end
  end
end
return gone
