-- singleton_note: the holder gives a sign of life, or says how a run ended. A failed run is none.
-- KEYS: lease, state
-- ARGV: owner, epoch, what, error
-- Reply: 1, or 0 when the lease is not its any more.
-- include: now, fence
redis.call('PERSIST', state)
if deposed() then return 0 end
if what == 'failed' then
  redis.call('HINCRBY', state, 'failures', 1)
  redis.call('HSET', state, 'last_error', error, 'failed', now)
  return 1
end
if what == 'ran' then redis.call('HINCRBY', state, 'runs', 1) end
redis.call('HSET', state, 'beat', now)
return 1
