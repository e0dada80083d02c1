-- include: now, shard
-- keep: a record stays for as long as somebody may ask.
local HEAVY = { 'a', 'headers', 'then', 'on_failure', 'timeout', 'retry', 'progress', 'd', 'priority', 'place', 'due' }
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
    if waited then
      redis.call('HDEL', record(uid), unpack(HEAVY))
    else
      redis.call('HDEL', record(uid), 'result', 'error', unpack(HEAVY))
      redis.call('HSET', record(uid), 'cut', '1')
    end
    redis.call('UNLINK', failures(uid))
    redis.call('ZADD', finished, until_, uid)
  end
end
local function keep(uid, retention, enqueued, waited)
  local wanted = tonumber(default_retention)
  if retention then wanted = (tonumber(retention) or 0) * 1000 end
  local needed = needed_until(enqueued, waited, now)
  if wanted > 0 then
    redis.call('ZADD', finished, math.max(now + wanted, needed), uid)
  elseif waited then
    redis.call('ZADD', finished, needed, uid)
  else
    cut(uid, needed, waited)
  end
end
