-- include: tally
-- keys: how many dedupe keys are held that were taken under each layout: in `meta`, `keys:<layout>`; and until when the last
-- window holds: `windows:<layout>`. The record says under which: `layout`, absent for the first.
local function count_keys(layout, by)
  local field = 'keys:' .. (layout or '1')
  if tally(field, by) <= 0 then redis.call('HDEL', meta, field) end
end
