-- schedule_pause: pauses a schedule, or lets it go on; ticks of the pause are not owed.
-- KEYS: lease, schedules_items, schedules_meta, schedules_paused
-- ARGV: name, pause
--   pause: `1` to pause, empty to go on.
-- Reply: {the leader, paused | resumed | same | missing}.
-- include: now, schedules, whole
local wrong = torn()
if wrong then return wrong end
local item = read_item(name)
if not item then return { leader(), 'missing' } end
if pause == '1' then
  if redis.call('HSETNX', schedules_paused, name, now) == 0 then return { leader(), 'same' } end
  next_version()
  return { leader(), 'paused' }
end
if redis.call('HDEL', schedules_paused, name) == 0 then return { leader(), 'same' } end
item.since = now
write_item(name, item)
return { leader(), 'resumed' }
