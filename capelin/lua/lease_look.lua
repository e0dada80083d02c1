-- lease_look: who holds a lease, and for how long.
-- KEYS: lease
-- ARGV:
-- Reply: {owner, ms until it expires; negative: since it did}; no owner when it was given up, or never taken.
-- include: now
local held = redis.call('HMGET', lease, 'owner', 'expires')
return { held[1] or '', (tonumber(held[2]) or 0) - now }
