"""Checks of each Redis server: its version and its settings, its memory, who is connected."""

from collections.abc import Mapping

from capelin.admin.doctor.finding import Report
from capelin.admin.doctor.patient import Patient
from capelin.admin.doctor.words import count, number, redis_cli, size, span
from capelin.errors import RedisRefused

OLDEST = (6, 2)
"""The scripts need exclusive ranges of streams, which Redis has since 6.2."""
TESTED = "7.0"
"""What every test of capelin runs on."""
_FORKS = {"valkey_version": "Valkey", "dragonfly_version": "Dragonfly", "keydb_version": "KeyDB"}
_HOUR = 3600
_FRAGMENTED, _ENOUGH_TO_MATTER = 1.5, 100 * 2**20
_CROWDED = 0.8


async def version(patient: Patient, report: Report) -> None:
    """Look whether the server can run the scripts."""
    judge_versions((await patient.servers()).infos, report)


def judge_versions(infos: Mapping[str, Mapping[str, str]], report: Report) -> None:
    """Write what servers, each with its ``INFO``, say of their versions."""
    found: set[str] = set()
    for server, info in infos.items():
        known = info.get("redis_version", "?")
        fork = next((f"{name} {info[key]}" for key, name in _FORKS.items() if key in info), "")
        found.add(fork or known)
        if _numbers(known) < OLDEST:
            report.problem(
                f"Redis {known} on {server} is older than 6.2",
                why="the scripts read exclusive ranges of streams, which it does not know",
                do=f"upgrade it; capelin is tested with Redis {TESTED}",
            )
        elif fork:
            report.note(
                f"{fork} on {server}, which says that it does what Redis {known} does",
                why=f"capelin is tested with Redis {TESTED}",
            )
        else:
            tested = "" if known.startswith(f"{TESTED}.") else f"; capelin is tested with {TESTED}"
            report.ok(f"Redis {known} on {server}{tested}")
    if len(found) > 1:
        report.warning(
            f"servers of different versions: {', '.join(sorted(found))}",
            why="what runs on one may be refused by another",
            do="finish the upgrade",
        )


async def eviction(patient: Patient, report: Report) -> None:
    """Look whether a full Redis would throw jobs away."""
    for server, info in (await patient.servers()).infos.items():
        policy = info.get("maxmemory_policy", "?")
        if policy == "noeviction":
            report.ok(f"maxmemory-policy is noeviction on {server}")
            continue
        most = number(info, "maxmemory")
        report.problem(
            f"maxmemory-policy is {policy} on {server}",
            why="a full Redis evicts keys then: jobs, records and leases are lost in silence"
            + ("" if most else "; there is no maxmemory so far, and the day it is set this begins"),
            do=f"{redis_cli(server)} CONFIG SET maxmemory-policy noeviction, and the same in redis.conf",
        )


async def persistence(patient: Patient, report: Report) -> None:
    """Look what a restart of Redis would lose."""
    for server, info in (await patient.servers()).infos.items():
        try:
            config = await patient.config(server, "save", "appendfsync")
        except RedisRefused as refused:
            report.note(f"{server} does not say what it saves when: {refused.message}")
            config = dict[str, str]()
        _persistence_of(server, info, config, report)
        for field, word in (
            ("rdb_last_bgsave_status", "snapshot"),
            ("aof_last_write_status", "write to the append-only file"),
            ("aof_last_bgrewrite_status", "rewrite of the append-only file"),
        ):
            if info.get(field, "ok") != "ok":
                report.problem(
                    f"the last {word} failed on {server}",
                    why="what is not on disk is lost at a restart, and Redis may refuse to write",
                    do="look at the log of Redis, and at the space on its disk",
                )


def _persistence_of(server: str, info: Mapping[str, str], config: Mapping[str, str], report: Report) -> None:
    turn_on = (
        f"{redis_cli(server)} CONFIG SET appendonly yes, and appendonly yes and appendfsync everysec "
        "in redis.conf"
    )
    if info.get("aof_enabled") == "1":
        sync = config.get("appendfsync", "?")
        if sync == "no":
            report.warning(
                f"append-only file on, but appendfsync is no on {server}",
                why="a crash of its machine loses what the system has not yet written: up to 30 s",
                do=f"{redis_cli(server)} CONFIG SET appendfsync everysec, and the same in redis.conf",
            )
            return
        loses = {"always": "; a crash loses nothing", "everysec": "; a crash loses the last second or two"}
        report.ok(f"append-only file on {server}, appendfsync {sync}{loses.get(sync, '')}")
        return
    if "save" not in config:
        report.warning(
            f"the append-only file is off on {server}",
            why="a restart loses at least what came since the last snapshot",
            do=turn_on,
        )
    elif config["save"]:
        changes = int(number(info, "rdb_changes_since_last_save"))
        report.warning(
            f"snapshots only on {server} (save {config['save']}): {changes:,} changes are in none",
            why="a restart loses every job since the last one",
            do=turn_on,
        )
    else:
        report.problem(
            f"neither append-only file nor snapshots on {server}",
            why="a restart of Redis loses every job, schedule and result",
            do=turn_on,
        )


async def memory(patient: Patient, report: Report) -> None:
    """Look how much room there is."""
    for server, info in (await patient.servers()).infos.items():
        used, most = number(info, "used_memory"), number(info, "maxmemory")
        machine = number(info, "total_system_memory")
        limit, name = (most, "maxmemory") if most else (machine, "its machine's memory")
        part = used / limit if limit else 0.0
        seen = f"{size(used)} used on {server}, {part:.0%} of {name} ({size(limit)})"
        looking = "; capelin queues shows where jobs pile up, capelin dlq what can be purged"
        if part >= patient.bounds.full:
            report.problem(
                seen,
                why="a full Redis refuses to take new jobs; those that it has drain",
                do=f"start workers, or give it more: {redis_cli(server)} CONFIG SET maxmemory …{looking}",
            )
        elif part >= patient.bounds.memory:
            report.warning(
                seen,
                why="when it is full, every enqueue is refused",
                do=f"give it more: {redis_cli(server)} CONFIG SET maxmemory …{looking}",
            )
        elif not most:
            report.note(
                f"no maxmemory: {seen}",
                why="instead of refusing new jobs in time, Redis is killed when its machine is full",
                do=f"{redis_cli(server)} CONFIG SET maxmemory {machine * 0.7 / 2**20:.0f}mb, "
                "and the same in redis.conf",
            )
        else:
            report.ok(seen)
        judge_fragmentation(server, info, report)


def judge_fragmentation(server: str, info: Mapping[str, str], report: Report) -> None:
    """Write whether a server takes clearly more memory than its data, or less: then it is swapped out."""
    used, ratio = number(info, "used_memory"), number(info, "mem_fragmentation_ratio")
    if used < _ENOUGH_TO_MATTER:
        return
    if ratio > _FRAGMENTED:
        report.warning(
            f"fragmentation {ratio:.2f} on {server}: {size(used)} of data take {size(used * ratio)}",
            why="the machine is full before Redis is",
            do=f"{redis_cli(server)} CONFIG SET activedefrag yes (or MEMORY PURGE)",
        )
    elif 0 < ratio < 0.9:  # noqa: PLR2004 -- clearly less than there is
        report.warning(
            f"{size(used)} of data on {server}, of which {ratio:.0%} are in memory",
            why="the rest is swapped out, and every script may wait for a disk",
            do="give the machine more memory, or Redis less: maxmemory in redis.conf",
        )


async def clients(patient: Patient, report: Report) -> None:
    """Look whether more workers could still connect."""
    for server, info in (await patient.servers()).infos.items():
        connected, most = number(info, "connected_clients"), number(info, "maxclients")
        seen = f"{count(int(connected), 'connection')} on {server}" + (f" of {most:.0f}" if most else "")
        if most and connected >= _CROWDED * most:
            report.warning(
                seen,
                why="beyond maxclients Redis turns new workers and clients away",
                do=f"{redis_cli(server)} CONFIG SET maxclients {most * 2:.0f}, and the same in redis.conf; "
                f"{redis_cli(server)} CLIENT LIST shows who they are",
            )
        else:
            report.ok(seen)


async def uptime(patient: Patient, report: Report) -> None:
    """Look whether Redis was restarted a moment ago."""
    for server, info in (await patient.servers()).infos.items():
        seconds = number(info, "uptime_in_seconds")
        if info.get("loading") == "1":
            report.problem(
                f"{server} is loading its data",
                why="it answers nothing until it is done",
                do="wait; its log says how far it is",
            )
        elif seconds < _HOUR:
            report.note(
                f"{server} is up for {span(seconds)}",
                why="if nobody restarted it, it crashed: its log says why",
            )
        else:
            report.ok(f"{server} is up for {span(seconds)}")


def _numbers(version: str) -> tuple[int, ...]:
    parts = version.split(".")[:2]
    return tuple(int(part) for part in parts if part.isdigit())
