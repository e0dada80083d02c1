-- streams: their order. An index below is one into STREAMS of priority.py, which lists them in the same order.
local RETURNED, NORMAL, UNPARKED = 1, 4, 6
local STREAM_OF = { critical = 2, high = 3, normal = 4, low = 5 }
