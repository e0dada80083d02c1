-- include: place, keys
-- free: what every end of a job does for others: its dedupe key is freed, its follower let go.
local function free_key(uid, task, key, window, follower, layout)
  local f = follower and redis.pcall('HMGET', record(follower), 'status', 'follows', 'delay', 'priority', 'key')
  if f and f[1] == 'scheduled' and f[2] == uid then
    local name = record(follower)
    -- A window may have ended, and its key belong to another job by now.
    if f[5] and redis.pcall('GET', unique(task, f[5])) == uid then
      redis.call('SET', unique(task, f[5]), follower, 'KEEPTTL')
    end
    local at = moment(f[3] or '')
    if at and at > now then
      redis.call('HSET', name, 'due', at)
      schedule(follower, at)
    else
      enter(follower, stream_of(f[4]))
      redis.call('HSET', name, 'status', 'queued')
      redis.call('ZREM', scheduled, follower)
    end
    redis.call('HDEL', name, 'follows', 'delay')
  elseif key and not window and redis.pcall('GET', unique(task, key)) == uid then
    redis.call('DEL', unique(task, key))
    count_keys(layout, -1)
  end
end
