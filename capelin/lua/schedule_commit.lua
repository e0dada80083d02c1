-- schedule_commit: the leader writes what became of ticks: enqueued, or skipped. Nothing is owed for them any more. Keeps: 8.
-- KEYS: lease, schedules_items, schedules_states, schedules_intents, schedules_meta
-- ARGV: owner, epoch, *schedule(name, state)
-- Reply: {the clock, version}; or the text 'deposed'.
-- include: now, fence, schedules
redis.call('PERSIST', schedules_states)
if deposed() then return 'deposed' end
for i = FIRST, #ARGV, STEP do
  local name, state = schedule(i)
  redis.call('HDEL', schedules_intents, name)
  if redis.call('HEXISTS', schedules_items, name) == 1 then redis.call('HSET', schedules_states, name, state) end
end
return { now, tonumber(redis.call('HGET', schedules_meta, 'version')) or 0 }
