-- browse: the newest jobs of a shard, for people. Reads only; looks at no more than `depth` entries of each place, so that it
--   is O(depth) whatever the backlog.
-- KEYS: meta, never, scheduled, finished, dlq, *streams
-- ARGV: status, task, limit, depth
--   status and task: '' for any.
-- Reply: {jobs, cut}: jobs are {uid, enqueued}, the newest first; cut: 1 when a place had more than was looked at.
-- include: shard
local most = tonumber(depth)
local found, seen = {}, {}
local cut = 0

local function look_at(uid)
  if seen[uid] then return end
  seen[uid] = true
  local j = redis.pcall('HMGET', record(uid), 'status', 'task', 'enqueued')
  if j.err or not j[1] then return end
  if (status == '' or j[1] == status) and (task == '' or j[2] == task) then
    found[#found + 1] = { uid, tonumber(j[3]) or 0 }
  end
end

local function look_at_entries(entries)
  if #entries == most then cut = 1 end
  for _, entry in ipairs(entries) do
    local uid = entry[2] and entry[2][2]
    if uid then look_at(uid) end
  end
end

local function look_at_members(members)
  if #members == most then cut = 1 end
  for _, uid in ipairs(members) do look_at(uid) end
end

local any = status == ''
for _, stream in ipairs((any or status == 'queued') and streams or {}) do
  look_at_entries(redis.call('XREVRANGE', stream, '+', '-', 'COUNT', most))
end
if status == 'running' then
  for _, stream in ipairs(streams) do
    local pending = redis.pcall('XPENDING', stream, 'workers', '-', '+', most)
    if #pending == most then cut = 1 end
    for _, entry in ipairs(pending.err and {} or pending) do
      look_at_entries(redis.call('XRANGE', stream, entry[1], entry[1]))
    end
  end
end
if any or status == 'scheduled' then look_at_members(redis.call('ZRANGE', scheduled, 0, most - 1)) end
if any or status == 'completed' or status == 'cancelled' then
  look_at_members(redis.call('ZREVRANGE', finished, 0, most - 1))
end
if any or status == 'failed' then look_at_entries(redis.call('XREVRANGE', dlq, '+', '-', 'COUNT', most)) end
if any or status == 'parked' then
  for _, field in ipairs(redis.call('HKEYS', meta)) do
    local name = string.match(field, '^parked:(.+)$')
    if name and (task == '' or task == name) then
      look_at_members(redis.call('ZREVRANGE', parked(name), 0, most - 1))
    end
  end
end

table.sort(found, function(a, b)
  if a[2] ~= b[2] then return a[2] > b[2] end
  return a[1] > b[1]
end)
local newest = {}
for index = 1, math.min(#found, tonumber(limit)) do newest[index] = found[index] end
if #found > #newest then cut = 1 end
return { newest, cut }
