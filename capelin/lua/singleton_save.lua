-- singleton_save: the holder writes its state, which is a sign of life as well. Nobody else's is written.
-- KEYS: lease, state
-- ARGV: owner, epoch, text
-- Reply: 1, or 0 when the lease is not its any more.
-- include: now, fence
redis.call('PERSIST', state)
if deposed() then return 0 end
redis.call('HSET', state, 'state', text, 'epoch', epoch, 'saved', now, 'beat', now)
return 1
