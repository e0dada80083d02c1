-- loans: strikes off loans that were found over, and lists some that are left.
-- KEYS: meta, never, lent
-- ARGV: limit, *over(key, loan)
-- Reply: {key, loan} each; key: '<task>:<dedupe key>'.
for i = FIRST, #ARGV, STEP do
  local key, loan = over(i)
  if redis.call('HGET', lent, key) == loan then redis.call('HDEL', lent, key) end
end
local found = {}
local cursor = redis.call('HSCAN', lent, 0, 'COUNT', limit)
for i = 1, #cursor[2], 2 do found[#found + 1] = { cursor[2][i], cursor[2][i + 1] } end
return found
