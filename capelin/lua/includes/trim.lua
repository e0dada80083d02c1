-- include: keep
-- trim: removes records whose time is over, and the oldest beyond `most`, at most `limit` of each: O(batch), never O(backlog).
-- Within the resend window a record is cut to a stub, so that a re-sent enqueue or finish still recognises it.
local function shorten(uid, latest)
  local r = redis.pcall('HMGET', record(uid), 'at', 'waited', 'finished')
  if r.err then r = {} end -- no record at all: it goes
  cut(uid, math.min(needed_until(r[1], r[2], tonumber(r[3]) or 0), latest), r[2])
end
local function trim(most, limit)
  local gone = redis.call('ZRANGEBYSCORE', finished, '-inf', now, 'LIMIT', 0, limit)
  for _, uid in ipairs(gone) do
    redis.call('UNLINK', record(uid), failures(uid))
  end
  if #gone > 0 then redis.call('ZREM', finished, unpack(gone)) end
  local latest = now + tonumber(resend_window)
  local beyond = '(' .. string.format('%.0f', latest)
  local excess = redis.call('ZCOUNT', finished, beyond, '+inf') - most
  if excess <= 0 then return #gone end
  local old = redis.call('ZRANGEBYSCORE', finished, beyond, '+inf', 'LIMIT', 0, math.min(excess, limit))
  for _, uid in ipairs(old) do shorten(uid, latest) end
  return #gone + #old
end
