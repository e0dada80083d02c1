-- include: streams, tally
-- place: puts a job where it waits. Callers wake the owner themselves, once a batch, with `earliest`.
local earliest = math.huge -- the earliest moment at which something became ready in this script; 0 = at once
local function enter(uid, index)
  redis.call('XADD', streams[index], '*', 'j', uid)
  earliest = 0
end
local function schedule(uid, due)
  redis.call('ZADD', scheduled, due, uid)
  if due < earliest then earliest = due end
end
-- A job leaves a stream by another door than `take`, which will find its entry there and must know that none is missing.
local function stale(index)
  tally('stale:' .. index, 1)
end
-- A due moment as clients say it, in whole ms: '' at once, '+250' in 250 ms, '1795445738860' then.
local function is_moment(text) return text == '' or string.find(text, '^%+?%d+%.?%d*$') ~= nil end
local function moment(text)
  if text == '' then return nil end
  if string.sub(text, 1, 1) == '+' then return now + math.floor(tonumber(string.sub(text, 2))) end
  return math.floor(tonumber(text))
end
