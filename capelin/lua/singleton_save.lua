-- singleton_save: the holder writes its state, which is a sign of life as well. Nobody else's is written, nor an older one that
--   was sent twice and comes late.
-- KEYS: lease, state
-- ARGV: owner, epoch, number, text
-- Reply: 1, or 0 when the lease is not its any more.
-- include: now, fence
redis.call('PERSIST', state)
if deposed() then return 0 end
local last = redis.call('HMGET', state, 'epoch', 'number')
if last[1] == epoch and (tonumber(last[2]) or 0) > tonumber(number) then return 1 end
redis.call('HSET', state, 'state', text, 'epoch', epoch, 'number', number, 'saved', now, 'beat', now)
return 1
