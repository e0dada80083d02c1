-- include: status, streams, place
-- undone: an entry was delivered, and its job waits still: Redis broke the take off (a key of another type, a right that lacks).
-- The job goes back ahead of new work. Should it have another entry, too, that one is dropped when its turn comes, since the
-- record says where the job waits.
local function hand_back(uid)
  enter(uid, RETURNED)
  redis.call('HSET', record(uid), 'status', 'queued', 'place', 'returned')
end
