-- now: the server's clock in ms. Every time in a record is this clock's, never a client's.
local function clock()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end
local now = clock()
