-- schedule_beat: a run of a schedule has completed. Keeps the dead man's switch.
-- KEYS: schedules_items, schedules_beats
-- ARGV: name
-- Reply: 1, or 0 for a schedule that is no more.
-- include: now
if redis.call('HEXISTS', schedules_items, name) == 0 then return 0 end
redis.call('HSET', schedules_beats, name, now)
return 1
