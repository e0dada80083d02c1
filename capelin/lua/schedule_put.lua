-- schedule_put: adds or changes schedules. One that changes its times owes nothing from before. Keeps: 8.
-- KEYS: lease, schedules_items, schedules_meta
-- ARGV: owner, epoch, app, source, *schedule(name, timing, definition)
--   owner, epoch: of the leader that puts what a release declares (source `code`); empty for a caller of the API (`api`).
-- Reply: {the leader, verdict of each: added | changed | same | declared (code declares it) | taken, and by which app...}; or the
--   text 'deposed'.
-- include: now, fence, schedules, whole
local wrong = torn()
if wrong then return wrong end
if owner ~= '' and deposed() then return 'deposed' end
local replies = { leader() }
for i = FIRST, #ARGV, STEP do
  local name, timing, definition = schedule(i)
  local item = read_item(name)
  local verdict = 'changed'
  if not item then
    verdict, item = 'added', { since = now }
  elseif item.app ~= app and not item.retired then
    verdict = 'taken:' .. item.app
  elseif source == 'api' and item.source == 'code' and not item.retired then
    verdict = 'declared'
  elseif item.def == definition and item.source == source and not item.retired then
    verdict = 'same'
  end
  if verdict == 'added' or verdict == 'changed' then
    if item.timing ~= timing or item.retired then item.since = now end
    item.app, item.source, item.timing, item.def, item.retired = app, source, timing, definition, nil
    write_item(name, item)
  end
  replies[#replies + 1] = verdict
end
return replies
