-- lend: a key's home lets a dead job of another shard have it, so that it can run again there. Who asks for the key here is told
--   to ask there, until it is free. Keeps: 7.
-- KEYS: meta, never, lent
-- ARGV: layout, task, key, job, past
--   job: the whole id. past: loans that are over.
-- Reply: {verdict, detail}; verdicts: moved (this is no home of an older layout), duplicate (the job that holds it), away (another
--   loan, which may be over), lent (its number).
-- include: now, shard, layout, holder
if older then return { 'moved', heard } end
hear()
local holder = holder_of(unique(task, key))
if holder then return { 'duplicate', job_id(holder) } end
local loan = lent_to(task, key, past)
if loan and string.match(loan, '^(.+)#') ~= job then return { 'away', loan } end
local number = math.max((tonumber(redis.call('HGET', meta, 'loan')) or 0) + 1, now)
redis.call('HSET', meta, 'loan', number)
redis.call('HSET', lent, task .. ':' .. key, job .. '#' .. string.format('%.0f', number))
return { 'lent', string.format('%.0f', number) }
