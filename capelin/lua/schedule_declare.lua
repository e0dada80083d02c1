-- schedule_declare: a worker says what its release declares. When a release was first seen decides which one counts.
-- KEYS: schedules_declared
-- ARGV: release, text
-- Reply: 1 when the release is new, else 0.
-- include: now
local key = schedules_declared
if redis.call('HEXISTS', key, release) == 1 then return 0 end
redis.call('HSET', key, release, cjson.encode({ first = now, text = text }))
return 1
