-- include: shard
-- tally: numbers in `meta`. One that somebody made a text of begins anew: it must cost no script its work.
local function tally(field, by)
  local number = redis.pcall('HINCRBY', meta, field, by)
  if type(number) == 'number' then return number end
  redis.call('HSET', meta, field, by)
  return by
end
