-- seal: a shard hears of a layout, and takes no request of an older one from here on. Tells what it still holds. Keeps: 7.
-- KEYS: meta, never, scheduled, finished, dlq, lent, stakes, *streams
-- ARGV: layout
-- Reply: {heard, live, ended, stakes, lent, paused, keys}; heard: the newest layout that it has heard of. live: jobs that have not ended;
--   ended: those that can still be asked for. lent: keys that jobs of other shards may hold. keys: {version, count, ms}: the
--   keys that were taken here under each layout and are held, and for how long the last window holds.
-- include: now, shard, layout, whole
local wrong = torn()
if wrong then return wrong end
redis.call('PERSIST', meta) -- allowed at `maxmemory`: what is there must be found, and drained
hear()
local live = redis.call('ZCARD', scheduled)
for _, stream in ipairs(streams) do live = live + redis.call('XLEN', stream) end
local counts, windows, versions = {}, {}, {}
local function note(list, version, value)
  if not counts[version] and not windows[version] then versions[#versions + 1] = version end
  list[version] = tonumber(value)
end
local fields = redis.call('HGETALL', meta)
for f = 1, #fields, 2 do
  local kind, name = string.match(fields[f], '^(%l+):(.+)$')
  if kind == 'parked' then live = live + (tonumber(fields[f + 1]) or 0) end
  if kind == 'keys' then note(counts, name, fields[f + 1]) end
  if kind == 'windows' then note(windows, name, fields[f + 1]) end
end
local keys = {}
for _, version in ipairs(versions) do
  -- Only a job that has not ended holds a key that is no window. A count of what a torn record held would never go.
  if counts[version] and live == 0 then redis.call('HDEL', meta, 'keys:' .. version) end
  local left = math.max(0, (windows[version] or 0) - now)
  if windows[version] and left == 0 then redis.call('HDEL', meta, 'windows:' .. version) end
  local count = live > 0 and counts[version] or 0
  if count > 0 or left > 0 then keys[#keys + 1] = { tonumber(version), count, left } end
end
return {
  math.max(heard, tonumber(layout)),
  live,
  redis.call('ZCARD', finished) + redis.call('XLEN', dlq),
  redis.call('ZCARD', stakes),
  redis.call('HLEN', lent),
  redis.call('HEXISTS', meta, 'paused'),
  keys,
}
