-- schedule_intend: the leader writes which ticks it is about to enqueue, as which jobs. Whoever leads next sends the same. Keeps: 8.
-- KEYS: lease, schedules_items, schedules_intents, schedules_paused, schedules_meta
-- ARGV: owner, epoch, window, *tick(name, revision, moment, job, layout)
--   window: ms for which the job may be enqueued; later, Redis refuses it. layout: the version by which the job's shard was
--   chosen; whoever enqueues it says that one.
-- Reply: {the clock, version, for each the moment until which it may be enqueued, or 0: the schedule has changed...}; or the text
--   'deposed'.
-- include: now, fence, schedules
redis.call('PERSIST', schedules_intents)
if deposed() then return 'deposed' end
local replies = { now, tonumber(redis.call('HGET', schedules_meta, 'version')) or 0 }
for i = FIRST, #ARGV, STEP do
  local name, revision, moment, job, layout = tick(i)
  local item = read_item(name)
  local until_ = 0
  if item and not item.retired and item.rev == tonumber(revision) and redis.call('HEXISTS', schedules_paused, name) == 0 then
    until_ = now + tonumber(window)
    redis.call('HSET', schedules_intents, name, cjson.encode({ tick = moment, job = job, layout = layout, not_after = until_ }))
  end
  replies[#replies + 1] = until_
end
return replies
