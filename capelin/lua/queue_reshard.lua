-- queue_reshard: a queue is cut anew. From here on who reads the layout places jobs by it, and asks the older ones' homes for a key
--   first. Nothing moves: jobs stay where their ids say. Keeps: 1, 7.
-- KEYS: queue_meta
-- ARGV: shards, most_homes, remembered, floor
--   most_homes: older layouts that may be on the list. remembered: ms for which ended jobs may be kept. floor: the newest
--   version that a shard has heard of.
-- Reply: {verdict, shards, schema, layout, reach, homes, fewest}; verdicts: resharded, same, missing, busy (too many older
--   layouts still hold keys).
-- include: now, queue
local q = read_queue()
local before, version, reach, homes, fewest = q[1], q[3], q[4], q[5], q[6]
if before == 0 then return { 'missing', unpack(q) } end
if before == tonumber(shards) then
  make_good(tonumber(floor))
  return { 'same', unpack(read_queue()) }
end
local _, commas = string.gsub(homes, ',', '')
if homes ~= '' and commas + 1 >= tonumber(most_homes) then return { 'busy', unpack(q) } end
redis.call('HSET', queue_meta,
  'shards', shards,
  'layout', math.max(version, tonumber(floor)) + 1,
  'homes', (homes ~= '' and homes .. ',' or '') .. version .. ':' .. before,
  'reach', math.max(reach, tonumber(shards)),
  'fewest', math.min(fewest, before),
  'until', now + tonumber(remembered))
return { 'resharded', unpack(read_queue()) }
