-- lease_acquire: takes a lease that is free, expired, or already ours. The epoch grows at every taking, also past a Redis that
--   forgot the last one: it is never behind the clock.
-- KEYS: lease
-- ARGV: owner, ttl
-- Reply: {epoch, ms until it expires, owner, the clock}; epoch 0: somebody else has it.
-- include: now
redis.call('PERSIST', lease)
local held = redis.call('HMGET', lease, 'owner', 'epoch', 'expires')
local MOST_AHEAD = 30 * 86400000 -- ms; nobody is given a lease for so long, so one that says it was none
local expires = tonumber(held[3]) or 0
if expires - now > MOST_AHEAD then expires = 0 end
if held[1] and held[1] ~= '' and held[1] ~= owner and expires > now then
  return { 0, expires - now, held[1], now }
end
local last = string.find(held[2] or '', '^%d+$') and #held[2] <= 15 and tonumber(held[2]) or 0 -- else no lease ever had it
local epoch = math.max(last + 1, now)
redis.call('HSET', lease, 'owner', owner, 'epoch', epoch, 'expires', now + tonumber(ttl))
return { epoch, tonumber(ttl), owner, now }
