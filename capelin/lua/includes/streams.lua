-- streams: their order, and which one a job waits in. An index below is one into STREAMS of priority.py, which lists them in
-- the same order.
local RETURNED, NORMAL, UNPARKED = 1, 4, 6
local STREAM_OF = { critical = 2, high = 3, normal = 4, low = 5 }
local function stream_of(priority, place)
  if place == 'returned' then return RETURNED end
  return STREAM_OF[priority or 'normal'] or NORMAL
end
