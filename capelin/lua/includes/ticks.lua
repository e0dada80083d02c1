-- include: now
-- ticks: the newest tick of each schedule that was decided here outlives the tick's job: a leader that comes back late, or another after
-- it, learns that there is nothing left to enqueue, however short the record was kept.
local TICKS_REMEMBERED = 30 * 86400 * 1000
local PASSED_OVER = 0.5 -- more than the tick: it came to no job, since another held the key
local function settled(extra)
  local newest, tick = tonumber(redis.call('ZSCORE', ticks, extra.schedule) or -1), tonumber(extra.tick)
  if newest == tick + PASSED_OVER then return 'duplicate' end
  if newest >= tick then return 'again' end
  if now > tonumber(extra.not_after) then return 'late' end
end
local function settle_tick(extra, verdict)
  local tick = tonumber(extra.tick)
  extra.not_after = nil
  redis.call('ZADD', ticks, verdict == 'duplicate' and tick + PASSED_OVER or tick, extra.schedule)
  redis.call('ZREMRANGEBYSCORE', ticks, '-inf', math.min(now - TICKS_REMEMBERED, tick - 1)) -- of schedules that are no more, say
  redis.call('PEXPIRE', ticks, TICKS_REMEMBERED)
end
