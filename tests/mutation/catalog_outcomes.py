"""Outcomes, starts and their ends: what `finish`, `take`, `cancel`, `replay` and retention keep."""

from tests.mutation.mutants import Mutant, lua, mutant

_FENCE = "if j[3] ~= token or j[1] ~= 'running' or j[2] ~= worker then"

OUTCOMES: tuple[Mutant, ...] = (
    mutant(
        "finish believes anybody", "2", lua("finish", _FENCE, "if false then"), aimed=("scripts/test_finish",)
    ),
    mutant(
        "finish asks for the worker alone",
        "2: an old token of the same worker is old",
        lua("finish", _FENCE, "if j[1] ~= 'running' or j[2] ~= worker then"),
        aimed=("scripts/test_finish",),
    ),
    mutant(
        "finish asks for the token alone",
        "2: a stranger does not end a start",
        lua("finish", _FENCE, "if j[3] ~= token then"),
        aimed=("scripts/test_finish",),
    ),
    mutant(
        "finish forgets the XDEL",
        "streams do not grow for ever",
        lua("finish", "  redis.call('XDEL', streams[index], unpack(ids))\n"),
        aimed=("scripts/test_finish",),
    ),
    mutant(
        "finish forgets the XACK",
        "1: what ended is not pending",
        lua("finish", "  redis.call('XACK', streams[index], 'workers', unpack(ids))\n"),
        aimed=("scripts/test_finish",),
    ),
    mutant(
        "a repeated outcome is called stale",
        "6: a lost reply of finish is told from a stranger",
        lua(
            "finish",
            "    if j[3] == token and j[6] == kind and j[1] ~= 'running' then return 'repeated' end\n",
        ),
        aimed=("scripts/test_finish",),
    ),
    mutant(
        "any second outcome is called a repeat",
        "2: only token and outcome together are a repeat",
        lua(
            "finish",
            "if j[3] == token and j[6] == kind and j[1] ~= 'running'",
            "if j[3] == token and j[1] ~= 'running'",
        ),
        aimed=("scripts/test_finish",),
    ),
    mutant(
        "finish keeps no account of ends",
        "1: what ended is on the list of the finished",
        lua("finish", "  keep(uid, retention, enqueued, waited)\n"),
        aimed=("scripts/test_retention",),
    ),
    mutant(
        "finish writes before it checks",
        "scripts check everything before their first write",
        lua("finish", "if not KINDS[kind] then return", "if false then return"),
        aimed=("scripts/test_finish",),
    ),
    mutant(
        "finish does not see that somebody cancelled",
        "a flagged job that fails ends cancelled",
        lua("finish", "if j[1] or kind == 'cancel' then", "if kind == 'cancel' then"),
        aimed=("scripts/test_finish",),
    ),
    mutant(
        "a waiter is told nothing",
        "finish publishes if somebody waits",
        lua("finish", "  if waited then tell(uid, 'completed') end\n"),
        aimed=("scripts/test_clients",),
    ),
    mutant(
        "a token is used twice",
        "2: the token grows at every start",
        lua("includes/start", "(tonumber(j[3]) or 0) + 1", "math.max(tonumber(j[3]) or 0, 1)"),
        aimed=("scripts/test_finish",),
    ),
    mutant(
        "take promotes without removing",
        "1: one place at every moment",
        lua("take", "  redis.call('ZREM', scheduled, uid)\n"),
        aimed=("scripts/test_take",),
    ),
    mutant(
        "take writes no stake",
        "3: no job in flight without a stake",
        lua("take", "if #jobs > 0 then redis.call('ZADD', stakes", "if false then redis.call('ZADD', stakes"),
        aimed=("scripts/test_take",),
    ),
    mutant(
        "take leaves no note",
        "an owner that got less than it asked for waits to be woken",
        lua("take", "  redis.call('HSET', meta, 'note', due or '')\n"),
        aimed=("scripts/test_wake_ups",),
    ),
    mutant(
        "a thief overlooks what waits",
        "4: a look that finds nothing is followed by no take",
        lua("peek", "  if redis.call('XLEN', streams[index]) > 0 then return 1 end\n"),
        aimed=("scripts/test_take",),
    ),
    mutant(
        "a thief overlooks what is due",
        "4: a look that finds nothing is followed by no take",
        lua(
            "peek",
            "return first[2] and tonumber(first[2]) <= now - tonumber(older_than) and 1 or 0",
            "return 0",
        ),
        aimed=("scripts/test_take",),
    ),
    mutant(
        "a thief takes what is young",
        "4: only what waited longer than steal_after",
        lua("take", "    most = math.min(most, old + promoted[index])\n"),
        aimed=("scripts/test_take",),
    ),
    mutant(
        "a thief promotes what is due just now",
        "4: only what waited longer than steal_after",
        lua("take", "local bound = age and now - age or now", "local bound = now"),
        aimed=("scripts/test_take",),
    ),
    mutant(
        "take does not see a pause",
        "nothing is taken from a paused shard",
        lua("take", "if redis.call('HGET', meta, 'paused') then", "if false then"),
        aimed=("scripts/test_take",),
    ),
    mutant(
        "what came back waits behind new work",
        "3: ahead of new work",
        lua("take", "drain(RETURNED)\nfor p, share", "for p, share"),
        lua("take", "for p = 1, 4 do drain(p + 1) end", "for p = 1, 4 do drain(p + 1) end drain(RETURNED)"),
        aimed=("scripts/test_take",),
    ),
    mutant(
        "a torn record spoils its batch",
        "9: the batch goes on",
        lua(
            "take",
            "if j[1] ~= 'queued' or not sound(j) then return 'torn' end",
            "if not sound(j) then error('torn') end",
        ),
        aimed=("scripts/test_torn",),
    ),
    mutant(
        "what has expired starts",
        "a job that expired unstarted ends cancelled",
        lua("take", "if not j[3] and tonumber(j[9] or now + 1) <= now then", "if false then"),
        aimed=("scripts/test_take",),
    ),
    mutant(
        "cancel leaves a job among the scheduled",
        "1: one place at every moment",
        lua("cancel", "  redis.call('ZREM', scheduled, uid)\n"),
        aimed=("scripts/test_clients",),
    ),
    mutant(
        "cancel frees no key",
        "7: the key is freed at every end",
        lua("includes/cancel", "  free_key(uid, j[1] or '?', j[2], j[3], j[4], j[9])\n"),
        aimed=("scripts/test_dedupe",),
    ),
    mutant(
        "replay takes no key",
        "7: replay takes it again",
        lua("replay", "  redis.call('SET', unique(j[2], j[3]), uid)\n"),
        aimed=("scripts/test_clients",),
    ),
    mutant(
        "replay does not ask who has the key",
        "7: replay reports the duplicate",
        lua("replay", "    if LIVE[status_of(holder)] then return { 'duplicate', holder } end\n"),
        aimed=("scripts/test_clients",),
    ),
    mutant(
        "replay leaves the entry in the DLQ",
        "1: one place at every moment",
        lua("replay", "redis.call('XDEL', dlq, entry)\n"),
        aimed=("scripts/test_clients",),
    ),
    mutant(
        "retention forgets failures",
        "trimming removes record and failures together",
        lua(
            "includes/trim",
            "    redis.call('UNLINK', record(uid), failures(uid))\n  end\n",
            "    redis.call('UNLINK', record(uid))\n  end\n",
        ),
        aimed=("scripts/test_retention",),
    ),
    mutant(
        "retention does not wait for re-sent requests",
        "6: a finished record stays for the resend window",
        lua("includes/keep", "  if until_ <= now then", "  if true then"),
        aimed=("scripts/test_retention", "scripts/test_enqueue"),
    ),
    mutant(
        "a death is told to nobody",
        "on_failure is told once",
        lua("includes/bury", "  if j[6] then", "  if false then"),
        aimed=("scripts/test_finish",),
    ),
    mutant(
        "a second death is not told of",
        "on_failure is told once for each death",
        lua("includes/bury", "uid .. '-f' .. number(j[10])", "uid .. '-f0'"),
        aimed=("scripts/test_finish",),
    ),
)
