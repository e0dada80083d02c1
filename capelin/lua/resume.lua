-- resume: ends a pause, and wakes the owner that fell asleep in it.
-- KEYS: meta, never, wake
-- ARGV:
-- Reply: 1 when it was paused.
-- include: shard, wake
local was = redis.call('HDEL', meta, 'paused')
wake_owner(nil)
return was
