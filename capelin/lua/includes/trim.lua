-- include: ends
-- trim: removes records whose time is over, and the oldest beyond `most`, at most `limit` of each: O(batch), never O(backlog).
-- Within the resend window a record is cut to a stub, so that a re-sent enqueue or finish still recognises it.
local function trim(most, limit)
  local gone = redis.call('ZRANGEBYSCORE', finished, '-inf', now, 'LIMIT', 0, limit)
  for _, uid in ipairs(gone) do
    redis.call('UNLINK', record(uid), failures(uid))
  end
  if #gone > 0 then redis.call('ZREM', finished, unpack(gone)) end
  local beyond = '(' .. string.format('%.0f', now + tonumber(resend_window))
  local excess = redis.call('ZCOUNT', finished, beyond, '+inf') - most
  if excess > 0 then
    local old = redis.call('ZRANGEBYSCORE', finished, beyond, '+inf', 'LIMIT', 0, math.min(excess, limit))
    for _, uid in ipairs(old) do
      local r = redis.call('HMGET', record(uid), 'enqueued', 'waited', 'finished')
      cut(uid, math.min(needed_until(r[1], r[2], tonumber(r[3]) or 0), now + tonumber(resend_window)), r[2])
    end
    return #gone + #old
  end
  return #gone
end
