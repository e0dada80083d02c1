-- include: shard, status, streams, aside
-- strangers: only `unpark` writes to `unparked`, and delivers in the same script. What nobody was handed there is none of its
-- entries, and would be handed out in the place of one. They are set aside; what they say of a job that has a place is not heard.
local MOST_STRANGERS = 100
local function set_strangers_aside()
  local stream, from, torn = streams[UNPARKED], '-', {}
  if redis.call('XLEN', stream) == 0 then return torn end
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    for f = 1, #group, 2 do
      if group[f] == 'last-delivered-id' then from = '(' .. group[f + 1] end
    end
  end
  for _, entry in ipairs(redis.call('XRANGE', stream, from, '+', 'COUNT', MOST_STRANGERS)) do
    local uid = entry[2][1] == 'j' and entry[2][2] or nil
    if not uid or not status_of(uid) then set_aside(uid or '?') end
    redis.call('XDEL', stream, entry[1])
    torn[#torn + 1] = uid or entry[1]
  end
  return torn
end
