"""Stakes, leases and membership: what `reap`, `renew`, `leave`, `adopt` and the leases keep."""

# ruff: noqa: E501 -- the texts of scripts stand as they are

from tests.mutation.mutants import Mutant, lua, mutant

_HELD = "if held[1] ~= owner or held[2] ~= epoch then return 0 end"

_HAND_BACK = "local function hand_back(uid)\n"

OWNERSHIP: tuple[Mutant, ...] = (
    mutant(
        "reap forgets",
        "1 and 3: the jobs of the dead come back",
        lua("includes/undone", f"{_HAND_BACK}  enter(uid, RETURNED)\n", _HAND_BACK),
        aimed=("scripts/test_stakes",),
    ),
    mutant(
        "reap gives back behind new work",
        "3: ahead of new work",
        lua(
            "includes/undone",
            f"{_HAND_BACK}  enter(uid, RETURNED)\n",
            f"{_HAND_BACK}  enter(uid, NORMAL)\n",
        ),
        aimed=("scripts/test_stakes",),
    ),
    mutant(
        "reap deletes a consumer with entries pending",
        "1: a consumer is deleted only at zero pending",
        lua("reap", "    if #pending_of(index, owner, 1) > 0 then", "    if false then"),
        aimed=("scripts/test_stakes",),
    ),
    mutant(
        "reap takes a consumer without a stake for an idle one",
        "3: a consumer of the groups without a live stake is dead",
        lua("reap", "        if c.pending > 0 then", "        if false then"),
        aimed=("scripts/test_stakes",),
    ),
    mutant(
        "reap judges right after an outage",
        "12: a judgement that was held up judges nobody",
        lua("reap", "if judge_until ~= '' and now > tonumber(judge_until) then", "if false then"),
        aimed=("scripts/test_stakes",),
    ),
    mutant(
        "every end of a stake counts a crash",
        "12: an outage counts no crash",
        lua("reap", "(stake_of[owner] or now) >= tonumber(no_crash_before)", "true"),
        aimed=("scripts/test_stakes",),
    ),
    mutant(
        "no end of a stake counts a crash",
        "9: what kills its worker ends in the DLQ",
        lua("reap", "(stake_of[owner] or now) >= tonumber(no_crash_before)", "false"),
        aimed=("scripts/test_stakes",),
    ),
    mutant(
        "reap does not wait for a stake to end",
        "12: nobody who lives is reaped",
        lua(
            "reap",
            "'ZRANGEBYSCORE', stakes, '-inf', now, 'WITHSCORES'",
            "'ZRANGEBYSCORE', stakes, '-inf', '+inf', 'WITHSCORES'",
        ),
        aimed=("scripts/test_stakes",),
    ),
    mutant(
        "reap does not see that somebody cancelled",
        "a flagged job that is reaped ends cancelled",
        lua("reap", "  if j[7] then", "  if false then"),
        aimed=("scripts/test_stakes",),
    ),
    mutant(
        "reap moves more than a batch",
        "every script is O(batch)",
        lua("reap", "      budget = budget - 1\n"),
        aimed=("scripts/test_stakes",),
    ),
    mutant(
        "renew keeps a lease after a takeover",
        "a lease is renewed by its holder, with its epoch",
        lua("renew", "if held[1] == worker and held[2] == epoch then", "if true then"),
        aimed=("scripts/test_leases", "scripts/test_stakes"),
    ),
    mutant(
        "renew does not tell what is lost",
        "2: renewal returns the tokens that are no longer ours",
        lua("renew", "if j[1] == 'running' and j[2] == worker and j[3] == token then", "if j[1] then"),
        aimed=("scripts/test_stakes",),
    ),
    mutant(
        "renew does not tell what a lost reply delivered",
        "6: what is pending here and unknown there is adopted",
        lua(
            "renew",
            "    if j[4] == here then unknown[#unknown + 1] = { uid, tonumber(j[3]) } end\n",
        ),
        aimed=("scripts/test_stakes",),
    ),
    mutant(
        "renew gives up a stake with jobs pending",
        "3: no job in flight without a stake",
        lua("renew", "if pending_here > 0 or staked == '1' then", "if staked == '1' then"),
        aimed=("scripts/test_stakes",),
    ),
    mutant(
        "renew does not tell of a cancel",
        "renewals return flagged jobs",
        lua("renew", "    if j[5] then cancelled[#cancelled + 1] = uid end\n"),
        aimed=("scripts/test_stakes",),
    ),
    mutant(
        "adopt hands out what is not theirs",
        "2: a start has one runner",
        lua(
            "adopt",
            "j and j[1] == 'running' and j[3] == token and redis.call('HGET', record(uid), 'worker') == worker",
            "j",
        ),
        aimed=("scripts/test_stakes",),
    ),
    mutant(
        "leave drops the stake of jobs that run",
        "1: with jobs pending they come back by their stake",
        lua("leave", "    if not pending.err and #pending > 0 then return 0 end\n"),
        aimed=("scripts/test_stakes",),
    ),
    mutant(
        "an epoch repeats when Redis forgot it",
        "a lost lease never repeats an epoch",
        lua("lease_acquire", "math.max(last + 1, now)", "last + 1"),
        aimed=("scripts/test_leases",),
    ),
    mutant(
        "an epoch repeats when the clock stands still",
        "a lost lease never repeats an epoch",
        lua("lease_acquire", "math.max(last + 1, now)", "now"),
        aimed=("scripts/test_leases",),
    ),
    mutant(
        "a held lease is taken",
        "one owner at a time",
        lua("lease_acquire", "and expires > now then", "and false then"),
        aimed=("scripts/test_leases",),
    ),
    mutant(
        "a lease is renewed under an old epoch",
        "a lease that was lost is not renewed",
        lua("lease_renew", _HELD, "if held[1] ~= owner then return 0 end"),
        aimed=("scripts/test_leases", "scripts/test_singletons", "scripts/test_schedules"),
    ),
    mutant(
        "a lease is renewed after a takeover",
        "a lease that was lost is not renewed",
        lua("lease_renew", _HELD),
        aimed=("scripts/test_leases",),
    ),
    mutant(
        "a lease is released by a stranger",
        "a lease is given up by its holder",
        lua("lease_release", _HELD),
        aimed=("scripts/test_leases",),
    ),
    mutant(
        "a leader writes under an old epoch",
        "8: what a deposed leader writes is refused",
        lua("includes/fence", "held[1] ~= owner or held[2] ~= epoch", "held[1] ~= owner"),
        aimed=("scripts/test_schedules", "scripts/test_singletons"),
    ),
    mutant(
        "a leader writes with the epoch of another",
        "8: what a deposed leader writes is refused",
        lua("includes/fence", "held[1] ~= owner or held[2] ~= epoch", "held[2] ~= epoch"),
        aimed=("scripts/test_schedules", "scripts/test_singletons"),
    ),
    mutant(
        "members are judged by whoever",
        "12: only who is fit to judge removes the silent",
        lua("fleet_beat", "if now <= tonumber(judge_until) then", "if true then"),
        aimed=("scripts/test_leases",),
    ),
    mutant(
        "the fleet changes and nobody is told",
        "everybody computes the same assignment",
        lua("fleet_beat", "    changed = true\n  end\nend\nlocal version", "  end\nend\nlocal version"),
        aimed=("scripts/test_leases",),
    ),
    mutant(
        "unpark leaves its entry to whoever comes",
        "10: straight to its caller",
        lua(
            "unpark",
            "  redis.call('XREADGROUP', 'GROUP', 'workers', worker, 'COUNT', 1, 'STREAMS', stream, '>')\n",
        ),
        aimed=("scripts/test_parking",),
    ),
    mutant(
        "unpark hands back what this signature refused",
        "10: another digest may run it, the same one may not",
        lua("unpark", "elseif by ~= digest and not", "elseif not"),
        aimed=("scripts/test_parking",),
    ),
    mutant(
        "unpark writes no stake",
        "3: no job in flight without a stake",
        lua(
            "unpark", "if #jobs > 0 then redis.call('ZADD', stakes", "if false then redis.call('ZADD', stakes"
        ),
        aimed=("scripts/test_parking", "scripts/test_stakes"),
    ),
)
