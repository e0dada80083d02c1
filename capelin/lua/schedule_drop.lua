-- schedule_drop: removes schedules, or retires those that left their app's code. A retired one fires no more; what it knows stays
--   for a rollback. Keeps: 8.
-- KEYS: lease, schedules_items, schedules_meta, schedules_states, schedules_intents, schedules_paused, schedules_beats
-- ARGV: owner, epoch, retire, *schedule(name)
--   owner, epoch: of the leader; empty for a caller of the API. retire: `1` to retire instead of removing.
-- Reply: {the leader, verdict of each: removed | retired | declared (code declares it) | same (it was put anew since the leader
--   looked) | missing...}; or the text 'deposed'.
-- include: now, fence, schedules, whole
redis.call('PERSIST', schedules_items)
local wrong = torn()
if wrong then return wrong end
if owner ~= '' and deposed() then return 'deposed' end
local replies = { leader() }
for i = FIRST, #ARGV, STEP do
  local name = schedule(i)
  local item = read_item(name)
  local verdict = 'removed'
  if redis.call('HEXISTS', schedules_items, name) == 0 then
    verdict = 'missing'
  elseif owner ~= '' and item and not item.retired and (retire ~= '1' or item.source ~= 'code') then
    verdict = 'same'
  elseif retire == '1' then
    verdict = 'retired'
    if item and not item.retired then
      item.retired = now
      write_item(name, item)
    end
    redis.call('HDEL', schedules_intents, name)
  elseif owner == '' and item and item.source == 'code' and not item.retired then
    verdict = 'declared'
  else
    redis.call('HDEL', schedules_items, name)
    redis.call('HDEL', schedules_states, name)
    redis.call('HDEL', schedules_intents, name)
    redis.call('HDEL', schedules_paused, name)
    redis.call('HDEL', schedules_beats, name)
    next_version()
  end
  replies[#replies + 1] = verdict
end
return replies
