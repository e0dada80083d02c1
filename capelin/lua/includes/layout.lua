-- layout: which layout of its queue a shard has heard of last. It only grows, and from then on the shard takes no request of an
-- older one: see docs/resharding.md.
local heard = tonumber(redis.call('HGET', meta, 'layout')) or 1
local older = tonumber(layout) < heard
local function hear()
  if tonumber(layout) > heard then redis.call('HSET', meta, 'layout', layout) end
end
