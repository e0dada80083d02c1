-- singleton_begin: a new holder notes itself, and reads what the last one saved.
-- KEYS: lease, state
-- ARGV: owner, epoch
-- Reply: {the state, or nothing}; or the text 'deposed'.
-- include: now, fence
redis.call('PERSIST', state)
if deposed() then return 'deposed' end
redis.call('HSET', state, 'worker', owner, 'epoch', epoch, 'number', 0, 'since', now)
return { redis.call('HGET', state, 'state') }
