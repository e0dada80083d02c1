"""Checks of what Redis lets us do: run scripts, and each command that capelin needs."""

from collections.abc import Sequence

from capelin.admin.doctor.finding import Report
from capelin.admin.doctor.patient import Patient
from capelin.admin.doctor.rights import PROBE, Words, acl_line, needed, question, right, sample
from capelin.admin.doctor.words import count, number, redis_cli, size, some
from capelin.errors import RedisRefused
from capelin.lua.replies import text

_MANY_SCRIPTS = 1000
_UNKNOWN, _CANNOT_ASK = -1, -2


async def scripts(patient: Patient, report: Report) -> None:
    """Look whether scripts can be loaded and run: every step of a job is one."""
    for server in patient.up:
        try:
            sha = text(await patient.on(server, "SCRIPT", "LOAD", PROBE.text))
            await patient.on(server, "EVALSHA", sha, 0, "[]")
        except RedisRefused as refused:
            report.problem(
                f"{server} refuses scripts: {refused.message}",
                why="every step of a job is a script: nothing can be enqueued or run",
                do="give the user its rights: capelin doctor --acl prints them",
            )
        else:
            report.ok(f"{server} loads and runs scripts")
    try:
        infos = (await patient.servers()).infos
    except RedisRefused:  # how many there are is a courtesy
        return
    for server, info in infos.items():
        known = int(number(info, "number_of_cached_scripts"))
        if known > _MANY_SCRIPTS:
            report.warning(
                f"{server} keeps {known:,} scripts in {size(number(info, 'used_memory_scripts'))}",
                why="capelin has about fifty: somebody makes scripts up, and none is ever forgotten",
                do=f"find who sends EVAL: {redis_cli(server)} MONITOR; "
                f"{redis_cli(server)} SCRIPT FLUSH ASYNC frees them, and capelin loads its own again",
            )


async def acl(patient: Patient, report: Report) -> None:
    """Look which rights the user lacks; nothing is carried out for that."""
    user = patient.user or await _whoami(patient)
    wanted = needed(patient.connection.kind, db=patient.db)
    calls = [sample(words, patient.keys.prefix) for words in wanted]
    line = acl_line(user, prefix=patient.keys.prefix, kind=patient.connection.kind, db=patient.db)
    for server in patient.up:
        try:
            if patient.user is None:
                sha = text(await patient.on(server, "SCRIPT", "LOAD", PROBE.text))
                replies: list[int] = await patient.on(server, "EVALSHA", sha, 0, question(calls))
            else:
                replies = [await _may(patient, server, patient.user, words) for words in calls]
        except RedisRefused as refused:
            report.problem(
                f"{user} may not even ask {server} for its rights: {refused.message}",
                why="without scripts nothing runs",
                do=f"{redis_cli(server)} {line}",
            )
            continue
        if _CANNOT_ASK in replies:
            report.note(
                f"{server} is older than Redis 7.0 and cannot be asked what {user} may",
                do="compare with what capelin doctor --acl prints",
            )
            continue
        missing = [words for words, may in zip(wanted, replies, strict=True) if not may]
        unknown = [words for words, may in zip(wanted, replies, strict=True) if may == _UNKNOWN]
        _judge(f"{user} on {server}", missing, unknown, report, wanted=len(wanted), line=line)


def _judge(
    user: str,
    missing: Sequence[Words],
    unknown: Sequence[Words],
    report: Report,
    *,
    wanted: int,
    line: str,
) -> None:
    name, _, server = user.partition(" on ")
    if unknown:
        report.problem(
            f"{server} has no {some([' '.join(words) for words in unknown])}",
            why="scripts that call it fail: it was renamed away, or this is no Redis",
            do="take rename-command out of redis.conf, and use ACL instead",
        )
    if len(missing) == wanted:
        report.problem(
            f"{user} may do none of the {wanted} commands that capelin needs on its keys",
            why="nothing can be enqueued or run",
            do=f"{redis_cli(server)} {line}",
        )
    elif missing:
        rules = " ".join(right(words) for words in missing)
        prefix = line.partition(" ~")[2].partition(":*")[0]
        report.problem(
            f"{user} lacks {count(len(missing), 'right')} of {wanted}: {rules}",
            why="the steps of jobs that need them are refused, some in the middle of a job's life",
            do=f"{redis_cli(server)} ACL SETUSER {name} {rules} ~{prefix}:* &{prefix}:*, "
            "and the same in the ACL file; capelin doctor --acl prints all that is needed",
        )
    elif not unknown:
        report.ok(f"{user} has all {wanted} rights that capelin needs")


async def _may(patient: Patient, server: str, user: str, call: Words) -> int:
    """Ask for another user, as an administrator may; the answers are those of the probe."""
    try:
        verdict = await patient.on(server, "ACL", "DRYRUN", user, *call)
    except RedisRefused as refused:
        if "nknown subcommand" in refused.message:
            return _CANNOT_ASK
        if "not found" in refused.message and "ommand" in refused.message:
            return _UNKNOWN
        raise
    return int(verdict == b"OK")


async def _whoami(patient: Patient) -> str:
    try:
        return text(await patient.connection.command("ACL", "WHOAMI", key=patient.keys.queues)) or "default"
    except RedisRefused:
        return patient.login or "the user"
