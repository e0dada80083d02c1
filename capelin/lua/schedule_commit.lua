-- schedule_commit: the leader writes what became of ticks: enqueued, or skipped. Nothing is owed for them any more. Keeps: 8.
--   A commit that arrives after a newer one, over a connection that was lost, takes nothing back: neither state nor intent.
-- KEYS: lease, schedules_items, schedules_states, schedules_intents, schedules_meta
-- ARGV: owner, epoch, *schedule(name, state)
-- Reply: {the clock, version}; or the text 'deposed'.
-- include: now, fence, schedules
redis.call('PERSIST', schedules_states)
if deposed() then return 'deposed' end
-- The moment of that name in a JSON text: 0 where there is none, or it cannot be read.
local function moment_of(text, field)
  local ok, read = pcall(cjson.decode, text or '')
  return ok and type(read) == 'table' and tonumber(read[field]) or 0
end
for i = FIRST, #ARGV, STEP do
  local name, state = schedule(i)
  local decided = moment_of(state, 'last')
  if moment_of(redis.call('HGET', schedules_intents, name), 'tick') <= decided then
    redis.call('HDEL', schedules_intents, name)
  end
  if redis.call('HEXISTS', schedules_items, name) == 1
    and moment_of(redis.call('HGET', schedules_states, name), 'last') <= decided then
    redis.call('HSET', schedules_states, name, state)
  end
end
return { now, tonumber(redis.call('HGET', schedules_meta, 'version')) or 0 }
