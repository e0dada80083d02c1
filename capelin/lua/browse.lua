-- browse: the next entries of places of a shard, with what listings say of their jobs, for people. Reads only; O(lanes * count),
--   whatever the backlog.
-- KEYS: meta, never, scheduled, finished, dlq, *streams
-- ARGV: count, errors, *lane(place, order, begin, beyond)
--   errors: 1 to read what went wrong last in each job, too.
--   place: `stream:<index>` (what waits or runs), `pending:<index>` (what runs), `scheduled`, `finished`, `dlq`, or
--   `parked:<task>`. order: up or down. begin: an entry's id or a score to begin at, or after it with `(` before; '' for the
--   end of the place. beyond: in a sorted set, the uid after which to go on among those of score `begin`.
-- Reply: a list for each lane, each of at most `count` entries {at, uid, reason, record, error}. at: the entry's id, or its
--   score; uid: '' when it has none; reason: of a dead job; record: the values of SHOWN, or a status that is none for what is no
--   record; error: {type, message} or nothing. Instead of a list 'TORN <found> <wanted> <key>', where the place is a key of another
--   type.
-- include: shard, status
local SHOWN = { 'status', 'task', 'place', 'priority', 'at', 'started', 'finished', 'parent', 'token' }
local NO_RECORD = { '?', false, false, false, false, false, false, false }
local LONGEST = 300 -- bytes of a message
local most = tonumber(count)

local function decoded(text)
  local ok, value = pcall(cjson.decode, text)
  return ok and type(value) == 'table' and value or nil
end

-- What went wrong last: in the record once the job has ended, in the list of its failed starts before.
local function error_of(uid)
  local text = redis.pcall('HGET', record(uid), 'error')
  local found = type(text) == 'string' and decoded(text)
  if not found then
    local last = redis.pcall('LRANGE', failures(uid), -1, -1)
    local start = not last.err and last[1] and decoded(last[1])
    found = start and type(start.error) == 'table' and start.error
  end
  if not found then return false end
  local sort = type(found.type) == 'string' and found.type or '?'
  return { sort, string.sub(type(found.message) == 'string' and found.message or '', 1, LONGEST) }
end

local function row(at, uid, reason)
  local known = uid ~= '' and redis.pcall('HMGET', record(uid), unpack(SHOWN)) or {}
  if known.err then known = NO_RECORD end
  known[1], known[9] = status_in(known[1], known[9], known[2]), nil
  return { at, uid, reason or '', known, errors == '1' and uid ~= '' and error_of(uid) or false }
end

local function of_entry(entry)
  local words = {}
  local fields = entry[2] or {}
  for f = 1, #fields, 2 do words[fields[f]] = fields[f + 1] end
  return row(entry[1], words.j or '', words.reason)
end

-- Why a place could not be read: it is of another type, or there is nothing in it.
local function unreadable(key, wanted)
  local found = redis.call('TYPE', key).ok
  return found ~= 'none' and found ~= wanted and 'TORN ' .. found .. ' ' .. wanted .. ' ' .. key or {}
end

local function of_stream(stream, order, begin)
  local found
  if order == 'up' then
    found = redis.pcall('XRANGE', stream, begin == '' and '-' or begin, '+', 'COUNT', most)
  else
    found = redis.pcall('XREVRANGE', stream, begin == '' and '+' or begin, '-', 'COUNT', most)
  end
  if found.err then return unreadable(stream, 'stream') end
  local rows = {}
  for i, entry in ipairs(found) do rows[i] = of_entry(entry) end
  return rows
end

local function of_pending(stream, begin)
  local pending = redis.pcall('XPENDING', stream, 'workers', begin == '' and '-' or begin, '+', most)
  if pending.err then return unreadable(stream, 'stream') end
  local rows = {}
  for i, one in ipairs(pending) do
    local found = redis.call('XRANGE', stream, one[1], one[1])
    rows[i] = found[1] and of_entry(found[1]) or row(one[1], '')
  end
  return rows
end

-- As Redis orders members of one score; Lua's own `<` may follow a locale.
local function precedes(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then return x < y end
  end
  return #a < #b
end

local function ranked(key, order, first, last)
  if order == 'up' then return redis.call('ZRANGE', key, first, last, 'WITHSCORES') end
  return redis.call('ZREVRANGE', key, first, last, 'WITHSCORES')
end

-- The rank from which on members lie beyond a place among them, whether or not anything is left there.
local function rank_from(key, members, order, begin, beyond)
  local exclusive = string.sub(begin, 1, 1) == '('
  local bound = tonumber(exclusive and string.sub(begin, 2) or begin)
  local low, high = 0, members
  while low < high do
    local middle = math.floor((low + high) / 2)
    local at = ranked(key, order, middle, middle)
    local score, inside = tonumber(at[2]), nil
    if score ~= bound then
      inside = (score > bound) == (order == 'up')
    elseif beyond ~= '' then
      inside = at[1] ~= beyond and precedes(beyond, at[1]) == (order == 'up')
    else
      inside = not exclusive
    end
    if inside then high = middle else low = middle + 1 end
  end
  return low
end

local function of_set(key, order, begin, beyond)
  local members = redis.pcall('ZCARD', key)
  if type(members) ~= 'number' then return unreadable(key, 'zset') end
  local first = begin == '' and 0 or rank_from(key, members, order, begin, beyond)
  local found = ranked(key, order, first, first + most - 1)
  local rows = {}
  for i = 1, #found, 2 do rows[#rows + 1] = row(found[i + 1], found[i]) end
  return rows
end

local replies = {}
for i = FIRST, #ARGV, STEP do
  local place, order, begin, beyond = lane(i)
  local kind, detail = string.match(place, '^(%a+):?(.*)$')
  if kind == 'stream' then
    replies[#replies + 1] = of_stream(streams[tonumber(detail)], order, begin)
  elseif kind == 'pending' then
    replies[#replies + 1] = of_pending(streams[tonumber(detail)], begin)
  elseif kind == 'dlq' then
    replies[#replies + 1] = of_stream(dlq, order, begin)
  elseif kind == 'scheduled' then
    replies[#replies + 1] = of_set(scheduled, order, begin, beyond)
  elseif kind == 'finished' then
    replies[#replies + 1] = of_set(finished, order, begin, beyond)
  elseif kind == 'parked' then
    replies[#replies + 1] = of_set(parked(detail), order, begin, beyond)
  else
    return redis.error_reply('ERR no such place: ' .. place)
  end
end
return replies
