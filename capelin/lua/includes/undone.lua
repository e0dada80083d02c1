-- include: status, streams, place
-- undone: a job that was delivered goes back ahead of new work: its worker hands it back or is dead, or it never started, since Redis
-- broke the take off (a key of another type, a right that lacks), and the record says that it waits. Should it have another entry
-- then, that one is dropped when its turn comes, since the record says where the job waits.
local function hand_back(uid)
  enter(uid, RETURNED)
  redis.call('HSET', record(uid), 'status', 'queued', 'place', 'returned')
end
