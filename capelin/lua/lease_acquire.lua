-- lease_acquire: takes a lease that is free, expired, or already ours. The epoch grows at every taking, also past a Redis that
--   forgot the last one: it is never behind the clock.
-- KEYS: lease
-- ARGV: owner, ttl
-- Reply: {epoch, ms until it expires, owner, the clock}; epoch 0: somebody else has it.
-- include: now
redis.call('PERSIST', lease)
local held = redis.call('HMGET', lease, 'owner', 'epoch', 'expires')
local expires = tonumber(held[3]) or 0
if held[1] and held[1] ~= '' and held[1] ~= owner and expires > now then
  return { 0, expires - now, held[1], now }
end
local epoch = math.max((tonumber(held[2]) or 0) + 1, now)
redis.call('HSET', lease, 'owner', owner, 'epoch', epoch, 'expires', now + tonumber(ttl))
return { epoch, tonumber(ttl), owner, now }
