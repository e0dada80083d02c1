-- shard: keys of records, made from the shard's own name (`meta` is declared by every script that includes this).
local base = string.sub(meta, 1, -6)
local place_prefix = string.gsub(string.match(base, '{(.*)}$'), ':', '.', 1) .. '.'
local record_prefix = base .. ':job:' .. place_prefix
local function job_id(uid) return place_prefix .. uid end
local function record(uid) return record_prefix .. uid end
local function failures(uid) return base .. ':failures:' .. place_prefix .. uid end
local function unique(task, key) return base .. ':unique:' .. task .. ':' .. key end
local function parked(task) return base .. ':parked:' .. task end
