-- singleton_declare: a worker says which singletons it may host. When a name was first seen is kept.
-- KEYS: singletons
-- ARGV: *singleton(name, definition)
-- Reply: {for each, the app that declared it before, or an empty text}
-- include: now
redis.call('PERSIST', singletons)
local apps = {}
for i = FIRST, #ARGV, STEP do
  local name, definition = singleton(i)
  local before = redis.call('HGET', singletons, name)
  local read, known = pcall(cjson.decode, before or '')
  if not read or type(known) ~= 'table' then known = {} end
  local since = tonumber(known.registered) or now
  local text = string.format('{"registered":%.0f,', since) .. string.sub(definition, 2)
  if text ~= before then redis.call('HSET', singletons, name, text) end
  apps[#apps + 1] = type(known.app) == 'string' and known.app or ''
end
return apps
