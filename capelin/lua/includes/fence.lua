-- fence: only the present leader may write. The epoch of a lease that was taken again is another one.
local function deposed()
  local held = redis.call('HMGET', lease, 'owner', 'epoch')
  return held[1] ~= owner or held[2] ~= epoch
end
