-- resume: ends a pause, and wakes the owner that fell asleep in it.
-- KEYS: meta, never, wake
-- ARGV:
-- Reply: 1 when it was paused.
-- include: shard, wake, whole
local wrong = torn()
if wrong then return wrong end
local was = redis.call('HDEL', meta, 'paused')
wake_owner(nil)
return was
