-- fleet_leave: a worker takes its name off the fleet.
-- KEYS: fleet_members, fleet_expiry, fleet_free, fleet_pulse
-- ARGV: worker
-- Reply: the new version.
redis.call('PERSIST', fleet_members)
local was = redis.call('HDEL', fleet_members, worker)
redis.call('ZREM', fleet_expiry, worker)
redis.call('ZREM', fleet_free, worker)
redis.call('DEL', fleet_pulse)
if was == 1 then return redis.call('HINCRBY', fleet_members, '#version', 1) end
return tonumber(redis.call('HGET', fleet_members, '#version')) or 0
