-- pause: nothing is taken from a paused shard; enqueues are accepted.
-- KEYS: meta, never
-- ARGV: since
-- Reply: 1 when it was not paused before.
return redis.call('HSETNX', meta, 'paused', since)
