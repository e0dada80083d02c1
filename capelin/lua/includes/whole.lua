-- whole: what a person asks for is done whole or not at all: a script that would meet a key of another type half way refuses before
-- its first write, and names the key. For scripts that few call; those that run with every job leave it out.
local TYPES = { stream = 'stream', dlq = 'stream', meta = 'hash', lease = 'hash', lent = 'hash', job = 'hash', wake = 'list',
  scheduled = 'zset', finished = 'zset', stakes = 'zset', ticks = 'zset', items = 'hash', states = 'hash', intents = 'hash',
  paused = 'hash', beats = 'hash' }
local function torn(more)
  local asked = { more, unpack(KEYS) }
  if not more then asked = KEYS end
  for _, key in ipairs(asked) do
    local wanted, found = TYPES[string.match(key, '}:(%l+)')], redis.call('TYPE', key).ok
    if wanted and found ~= 'none' and found ~= wanted then
      return redis.error_reply('TORN ' .. found .. ' ' .. wanted .. ' ' .. key)
    end
  end
end
