-- pause: nothing is taken from a paused shard; enqueues are accepted.
-- KEYS: meta, never
-- ARGV: since
-- Reply: 1 when it was not paused before.
-- include: whole
local wrong = torn()
if wrong then return wrong end
return redis.call('HSETNX', meta, 'paused', since)
