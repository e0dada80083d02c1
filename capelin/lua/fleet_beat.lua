-- fleet_beat: a worker is alive. Joins when it is not known yet, and removes members that are silent beyond their time, if the
--   caller is fit to judge. The version changes with the membership, so that the list is read only then. Keeps: 12.
-- KEYS: fleet_members, fleet_expiry, fleet_free, fleet_pulse
-- ARGV: worker, member, ttl, free, judge_until, pulse
--   judge_until: the moment (ms) until which the caller is fit to judge; 0 when it is not. A beat that comes later was held up
--   by an outage, in which everybody was silent.
--   pulse: JSON for people, empty for none. It has a key of the caller's own that ends by itself: it changes no membership, and
--   nobody has to tidy it up.
-- Reply: {version, members with free slots beside the caller, ms until the next member expires, the clock, joined}
--   joined: 1 when the caller was no member before: it is to ask every shard what is parked there, now that it is one.
-- include: now
redis.call('PERSIST', fleet_members)
local changed, joined = false, 0
if redis.call('HGET', fleet_members, worker) ~= member then
  redis.call('HSET', fleet_members, worker, member)
  changed, joined = true, 1
end
redis.call('ZADD', fleet_expiry, now + tonumber(ttl), worker)
redis.call('ZADD', fleet_free, free, worker)
if pulse ~= '' then redis.call('SET', fleet_pulse, pulse, 'PX', ttl) end
if now <= tonumber(judge_until) then
  for _, silent in ipairs(redis.call('ZRANGEBYSCORE', fleet_expiry, '-inf', now, 'LIMIT', 0, 50)) do
    redis.call('HDEL', fleet_members, silent)
    redis.call('ZREM', fleet_expiry, silent)
    redis.call('ZREM', fleet_free, silent)
    changed = true
  end
end
local version
if changed then
  version = redis.call('HINCRBY', fleet_members, '#version', 1)
else
  version = tonumber(redis.call('HGET', fleet_members, '#version')) or 0
end
local idle = redis.call('ZCOUNT', fleet_free, 1, '+inf') - (tonumber(free) > 0 and 1 or 0)
local first = redis.call('ZRANGE', fleet_expiry, 0, 0, 'WITHSCORES')
return { version, idle, first[2] and math.max(0, math.min(tonumber(first[2]) - now, 2 ^ 53)) or 0, now, joined }
