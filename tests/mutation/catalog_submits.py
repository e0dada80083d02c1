"""Requests, dedupe keys, ticks and wake-ups: what `enqueue`, the schedules and the notes keep."""

from tests.mutation.mutants import Mutant, lua, mutant

SUBMITS: tuple[Mutant, ...] = (
    mutant(
        "a sent again enqueue is not recognised",
        "6: re-sent with the same id, it is one job",
        lua("enqueue", "  if known[1] or known[3] then return 'again', uid end\n"),
        aimed=("scripts/test_enqueue",),
    ),
    mutant(
        "a renewal drops what a broken off take delivered",
        "1: one place at every moment",
        lua("renew", "if j and j[1] == 'queued' and not lies(j, here) then", "if false then"),
        aimed=("scripts/test_torn",),
    ),
    mutant(
        "a reap drops what a broken off take delivered",
        "1: one place at every moment",
        lua("reap", "  if status == 'queued' then", "  if false then"),
        aimed=("scripts/test_torn",),
    ),
    mutant(
        "whatever says no status waits",
        "9: a start that does not say where it is is set aside",
        lua("includes/start", "j[1] or (j[4] and not j[3] and 'queued')", "j[1] or (j[4] and 'queued')"),
        aimed=("scripts/test_torn",),
    ),
    mutant(
        "what runs and does not say so counts as waiting",
        "9: a start that does not say where it is is set aside",
        lua("includes/status", "(task and not token and 'queued')", "(task and 'queued')"),
        aimed=("scripts/test_torn",),
    ),
    mutant(
        "a job that waits since it was enqueued holds no key",
        "7: one live job a key",
        lua("includes/holder", "  local status = status_in(j[1], j[2], j[3])\n", "  local status = j[1]\n"),
        aimed=("scripts/test_dedupe",),
    ),
    mutant(
        "dedupe looks away",
        "7: one live job a key",
        lua(
            "enqueue",
            "  local holder, status, token, follower = rarely().holder_of(unique(task, unique_key))\n",
            "  local holder, status, token, follower\n",
        ),
        aimed=("scripts/test_dedupe",),
    ),
    mutant(
        "a window has no end",
        "7: a window key is freed at its TTL",
        lua("enqueue", "redis.call('SET', name, uid, 'PX', unique_for)", "redis.call('SET', name, uid)"),
        aimed=("scripts/test_dedupe",),
    ),
    mutant(
        "an end frees another job's key",
        "7: the key is freed with its id compared",
        lua(
            "includes/free",
            "elseif key and not window and redis.pcall('GET', unique(task, key)) == uid then",
            "elseif key and not window then",
        ),
        aimed=("scripts/test_dedupe",),
    ),
    mutant(
        "an end frees a window",
        "7: a window outlives its job",
        lua("includes/free", "elseif key and not window and", "elseif key and"),
        aimed=("scripts/test_dedupe",),
    ),
    mutant(
        "a follower is never freed",
        "7: every end of the first frees it",
        lua("includes/free", "if f and f[1] == 'scheduled' and f[2] == uid then", "if false then"),
        aimed=("scripts/test_dedupe",),
    ),
    mutant(
        "a follower inherits no key",
        "7: the follower inherits the key",
        lua("includes/free", "      redis.call('SET', unique(task, f[5]), follower, 'KEEPTTL')\n"),
        aimed=("scripts/test_dedupe",),
    ),
    mutant(
        "there are many followers",
        "7: one that runs gets one follower",
        lua(
            "enqueue",
            "  if follower then return on_duplicate == 'follow' and 'duplicate' or 'replace', follower end\n",
        ),
        aimed=("scripts/test_dedupe",),
    ),
    mutant(
        "a replaced request leaves no alias",
        "6: a re-sent replace is recognised",
        lua(
            "includes/replace",
            "  redis.call('HSET', name, unpack(fields))\n  alias(uid, target)\n",
            "  redis.call('HSET', name, unpack(fields))\n",
        ),
        aimed=("scripts/test_enqueue",),
    ),
    mutant(
        "a replaced job keeps its entry for good",
        "a job that left its stream by another door is no lost one",
        lua(
            "includes/replace",
            "    if status == 'queued' then stale(index) end\n    put('status', 'queued')",
            "    put('status', 'queued')",
        ),
        aimed=("scripts/test_dedupe",),
    ),
    mutant(
        "enqueue writes before it checks",
        "a row that makes no sense is refused before anything is written",
        lua("enqueue", "  if not is_moment(due) then error(due) end\n"),
        aimed=("scripts/test_enqueue",),
    ),
    mutant(
        "a full queue takes more",
        "max_queue_length holds",
        lua("enqueue", "if more > 0 and rarely().waiting() + more > tonumber(most) then", "if false then"),
        aimed=("scripts/test_enqueue",),
    ),
    mutant(
        "a shard does not remember a tick",
        "8: one job a tick, however short its record was kept",
        lua("includes/ticks", "  if newest >= tick then return 'again' end\n"),
        aimed=("scripts/test_schedules",),
    ),
    mutant(
        "who slept enqueues what was decided long ago",
        "8: nobody enqueues a tick after its time",
        lua("includes/ticks", "  if now > tonumber(extra.not_after) then return 'late' end\n"),
        aimed=("scripts/test_schedules",),
    ),
    mutant(
        "what has changed since is fired",
        "8: a schedule that changes owes nothing from before",
        lua("schedule_intend", "item.rev == tonumber(revision) and", ""),
        aimed=("scripts/test_schedules",),
    ),
    mutant(
        "what is paused is fired",
        "none of its ticks is fired",
        lua("schedule_intend", " and redis.call('HEXISTS', schedules_paused, name) == 0", ""),
        aimed=("scripts/test_schedules",),
    ),
    mutant(
        "a late commit takes back what came after it",
        "8: nothing is owed twice",
        lua(
            "schedule_commit",
            "\n    and moment_of(redis.call('HGET', schedules_states, name), 'last') <= decided then",
            " then",
        ),
        aimed=("scripts/test_schedules",),
    ),
    mutant(
        "an old save is written over a new one",
        "a singleton's saves build on each other",
        lua(
            "singleton_save",
            "if last[1] == epoch and (tonumber(last[2]) or 0) > tonumber(number) then return 1 end\n",
        ),
        aimed=("scripts/test_singletons",),
    ),
    mutant(
        "a note is not answered",
        "whatever makes work appear wakes the owner",
        lua("includes/wake", "    redis.pcall('LPUSH', wake, '1')"),
        aimed=("scripts/test_wake_ups",),
    ),
    mutant(
        "a note is answered again and again",
        "one note, one token",
        lua("includes/wake", "    redis.call('HDEL', meta, 'note')\n"),
        aimed=("scripts/test_wake_ups",),
    ),
    mutant(
        "a paused shard is woken",
        "only resume answers the note",
        lua("includes/wake", "note and not said[2] and (", "note and ("),
        aimed=("scripts/test_wake_ups",),
    ),
    mutant(
        "resume wakes nobody",
        "resume answers the note",
        lua("resume", "wake_owner(nil)\n"),
        aimed=("scripts/test_wake_ups",),
    ),
    mutant(
        "the first of a queue's layouts is overwritten",
        "whoever uses a queue first decides how it is cut",
        lua("open_queue", "if not redis.call('HMGET', queue_meta, 'shards')[1] then", "if true then"),
        aimed=("scripts/test_leases",),
    ),
)
