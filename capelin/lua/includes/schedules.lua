-- include: now
-- schedules: a schedule is stored as JSON {rev, since, retired, app, source, timing, def}; `def` is text that scripts do not read.
--   since: ticks after this moment are owed; retired: the moment at which it left its app's code.
local function read_item(name)
  local text = redis.call('HGET', schedules_items, name)
  if not text then return nil end
  local ok, item = pcall(cjson.decode, text)
  if not ok or type(item) ~= 'table' then return nil end
  return item
end
-- The version of all definitions together. One that is no number was written by something else, and begins at a higher one.
local function next_version()
  local version = redis.pcall('HINCRBY', schedules_meta, 'version', 1)
  if type(version) == 'number' then return version end
  redis.call('HSET', schedules_meta, 'version', string.format('%.0f', now))
  return now
end
local function write_item(name, item)
  item.rev = next_version()
  redis.call('HSET', schedules_items, name, cjson.encode(item))
end
-- Who is to look at what changed: the leader, if there is one.
local function leader() return redis.call('HGET', lease, 'owner') or '' end
