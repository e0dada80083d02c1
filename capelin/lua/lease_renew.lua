-- lease_renew: keeps a lease that is still ours, also an expired one that nobody took over.
-- KEYS: lease
-- ARGV: owner, epoch, ttl
-- Reply: 1, or 0 when it is not ours any more.
-- include: now
redis.call('PERSIST', lease)
local held = redis.call('HMGET', lease, 'owner', 'epoch')
if held[1] ~= owner or held[2] ~= epoch then return 0 end
redis.call('HSET', lease, 'expires', now + tonumber(ttl))
return 1
