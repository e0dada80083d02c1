-- lease_release: gives a lease up at once. The epoch stays, so that the next one is larger.
-- KEYS: lease
-- ARGV: owner, epoch
-- Reply: 1, or 0 when it was not ours.
redis.call('PERSIST', lease)
local held = redis.call('HMGET', lease, 'owner', 'epoch')
if held[1] ~= owner or held[2] ~= epoch then return 0 end
redis.call('HSET', lease, 'owner', '', 'expires', 0)
return 1
