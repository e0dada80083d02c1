-- include: add
-- ends: what every end of a job does beside its own status: its dedupe key is freed, its follower let go, its waiter told,
-- its record kept for as long as somebody may ask, and the job that follows it added, all in the script that ends it.
local function free_key(uid, task, key, window, follower)
  if follower then
    local name = record(follower)
    local f = redis.call('HMGET', name, 'status', 'follows', 'delay', 'priority', 'key', 'window')
    if f[1] == 'scheduled' and f[2] == uid then
      if f[5] and f[6] then
        redis.call('SET', unique(task, f[5]), follower, 'XX', 'KEEPTTL')
      elseif f[5] then
        redis.call('SET', unique(task, f[5]), follower)
      end
      local at = moment(f[3] or '')
      redis.call('HDEL', name, 'follows', 'delay')
      if at and at > now then
        redis.call('HSET', name, 'due', at)
        schedule(follower, at)
      else
        redis.call('ZREM', scheduled, follower)
        redis.call('HSET', name, 'status', 'queued')
        enter(follower, STREAM_OF[f[4] or 'normal'])
      end
      return
    end
  end
  if key and not window then
    local name = unique(task, key)
    if redis.call('GET', name) == uid then redis.call('DEL', name) end
  end
end
local function tell(uid, status)
  redis.call('PUBLISH', base .. ':done:' .. place_prefix .. uid, status)
end
local HEAVY = { 'args', 'headers', 'then', 'on_failure', 'timeout', 'retry', 'progress', 'digest', 'priority', 'place', 'due' }
-- The moment before which a record must be found by a re-sent enqueue, and by whoever waits for the end.
local function needed_until(enqueued, waited, ended)
  local until_ = (tonumber(enqueued) or 0) + tonumber(resend_window)
  if waited and ended + tonumber(resend_window) > until_ then until_ = ended + tonumber(resend_window) end
  return until_
end
local function cut(uid, until_, waited)
  if until_ <= now then
    redis.call('UNLINK', record(uid), failures(uid))
    redis.call('ZREM', finished, uid)
  else
    redis.call('HDEL', record(uid), unpack(HEAVY))
    if not waited then redis.call('HDEL', record(uid), 'result', 'error') end
    redis.call('UNLINK', failures(uid))
    redis.call('ZADD', finished, until_, uid)
  end
end
local function keep(uid, retention, enqueued, waited)
  local wanted = retention and tonumber(retention) * 1000 or tonumber(default_retention)
  local needed = needed_until(enqueued, waited, now)
  if wanted > 0 then
    redis.call('ZADD', finished, math.max(now + wanted, needed), uid)
  elseif waited then
    redis.call('ZADD', finished, needed, uid)
  else
    cut(uid, needed, waited)
  end
end
