-- singleton_aside: the holder cannot read the state: it is kept for a person to look at, and there is none any more.
-- KEYS: lease, state
-- ARGV: owner, epoch
-- Reply: 1, or 0 when the lease is not its any more.
-- include: fence
redis.call('PERSIST', state)
if deposed() then return 0 end
local text = redis.call('HGET', state, 'state')
if text then
  redis.call('HSET', state, 'aside', text)
  redis.call('HDEL', state, 'state')
end
return 1
