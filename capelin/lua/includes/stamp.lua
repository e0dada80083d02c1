-- include: now
-- stamp: the clock as text. A number is put into words anew for each command that it is an argument of.
local stamp = string.format('%.0f', now)
