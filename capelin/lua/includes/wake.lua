-- include: shard
-- wake: work appeared. If the owner of the shard waits and would not come by itself before `due` (nil: at once), its note is
-- removed and one token pushed: one note, one token, one woken worker. A paused shard sleeps until `resume`.
local function wake_owner(due)
  local said = redis.call('HMGET', meta, 'note', 'paused')
  local note = said[1]
  if note and not said[2] and (note == '' or not due or due < (tonumber(note) or math.huge)) then
    redis.call('HDEL', meta, 'note')
    redis.pcall('LPUSH', wake, '1') -- what is no list costs the owner one wait, and nobody a job
  end
end
