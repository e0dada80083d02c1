-- include: free, tell, kin, total
-- bury: a job ends in the DLQ. `on_failure` is told by a job added here, in the same script, under an id made from the
-- parent's id and token, so that no crash can lose or double it. The job has its place before anything that can fail.
local DYING = { 'task', 'key', 'window', 'follower', 'waited', 'on_failure', 'a', 'attempt', 'crashes', 'token', 'layout',
  'headers' }
-- What a job is told of another must be JSON, whatever stands in the record of a torn one. What a task was started with is.
local function number(text) return tonumber(text or 0) or 0 end
local MAY_BE_RUBBISH = { torn = true, InvalidArguments = true, SealBroken = true, WorkerLost = true }
local function json_or(other, text, reason)
  if not text or (MAY_BE_RUBBISH[reason] and not pcall(cjson.decode, text)) then return other end
  return text
end
local function bury(uid, reason, failure)
  if failure == '' then failure = 'null' end
  local name = record(uid)
  local j = redis.call('HMGET', name, unpack(DYING))
  local entry = redis.call('XADD', dlq, '*', 'j', uid, 'task', j[1] or '?', 'reason', reason)
  redis.call('HSET', name, 'status', 'failed', 'finished', now, 'error', failure, 'place', 'dlq:' .. entry)
  free_key(uid, j[1] or '?', j[2], j[3], j[4], j[11])
  if j[5] then tell(uid, 'failed') end
  if j[6] then
    local told = cjson.decode(j[6])
    local args = '[[{"job_id":' .. cjson.encode(job_id(uid)) .. ',"task":' .. cjson.encode(j[1] or '?') .. ',"args":'
      .. json_or('[[],{}]', j[7], reason) .. ',"attempt":' .. number(j[8]) .. ',"crashes":' .. number(j[9]) .. ',"reason":'
      .. cjson.encode(reason) .. ',"error":' .. failure .. '}],{}]'
    add_child(uid, kin_of(uid), uid .. '-f' .. number(j[10]), told[1], told[2], args, told[3] or '', '',
      { headers = json_or(nil, j[12], reason) })
  end
end
local function note_failure(uid, token, attempt, crashes, worker, started, failure)
  total('failed', 1)
  redis.call('RPUSH', failures(uid), '{"token":' .. number(token) .. ',"attempt":' .. number(attempt) .. ',"crashes":' .. crashes
    .. ',"worker":' .. cjson.encode(worker) .. ',"started":' .. (started or 'null') .. ',"ended":'
    .. string.format('%.0f', now) .. ',"error":' .. (failure ~= '' and failure or 'null') .. '}')
end
