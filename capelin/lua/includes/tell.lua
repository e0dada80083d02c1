-- include: shard
-- tell: whoever waits for the end of a job hears of it.
local function tell(uid, status)
  redis.call('PUBLISH', base .. ':done:' .. place_prefix .. uid, status)
end
