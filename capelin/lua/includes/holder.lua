-- include: status
-- holder: who holds a dedupe key.
local LIVE = { scheduled = true, queued = true, running = true, parked = true }
-- The job that holds it: its uid, status, token and follower. Nil when the key is free, or holds an ended job, or one that
-- cannot be read, whose key nobody cleared.
local function holder_of(name)
  local uid = redis.pcall('GET', name)
  if type(uid) ~= 'string' then return nil end
  local j = redis.pcall('HMGET', record(uid), 'status', 'token', 'task', 'follower')
  local status = status_in(j[1], j[2], j[3])
  if LIVE[status] then
    local follower = j[4]
    if follower and redis.pcall('HGET', record(follower), 'follows') ~= uid then follower = nil end
    return uid, status, tonumber(j[2]) or 0, follower
  end
  if redis.call('PTTL', name) > 0 then return uid, 'ended', 0, nil end
  return nil
end
-- A key that was lent to a dead job of another shard, which runs again there: '<job id>#<number>'. Nil when it was not, or when
-- the caller has asked there (`past`) and it is free.
local function lent_to(task, key, past)
  if redis.call('EXISTS', lent) == 0 then return nil end
  local loan = redis.call('HGET', lent, task .. ':' .. key)
  if not loan or string.find(' ' .. (past or '') .. ' ', ' ' .. loan .. ' ', 1, true) then return nil end
  return loan
end
local function take_back(task, key)
  if redis.call('EXISTS', lent) == 1 then redis.call('HDEL', lent, task .. ':' .. key) end
end
-- Somebody was told that these keys are free here: no loan of them can be used any more.
local function call_in(past)
  for loan in string.gmatch(past or '', '%S+') do
    local id, number = string.match(loan, '^(.+)#(%d+)$')
    if id and string.sub(id, 1, #place_prefix) == place_prefix then
      local name = record(string.sub(id, #place_prefix + 1))
      local j = redis.pcall('HMGET', name, 'task', 'called')
      if j[1] and (tonumber(j[2]) or 0) < tonumber(number) then redis.call('HSET', name, 'called', number) end
    end
  end
end
