"""Checks of what stands behind a URL: a Cluster's slots and nodes, replicas, what a failover would lose."""

import asyncio
from collections.abc import Mapping

from capelin.admin.doctor.finding import Report
from capelin.admin.doctor.patient import Patient
from capelin.admin.doctor.words import count, number, read_info, redis_cli, size, some
from capelin.errors import RedisRefused, Unreachable
from capelin.lua.replies import text

SLOTS = 16_384
_FAR_BEHIND = 16 * 2**20


async def cluster(patient: Patient, report: Report) -> None:
    """Look whether every slot is served, by nodes that answer."""
    if patient.connection.kind != "cluster":
        for server, info in (await patient.servers()).infos.items():
            if info.get("cluster_enabled") == "1":
                report.problem(
                    f"{server} is a node of a Cluster, and the URL is one of a single server",
                    why="all keys of other nodes' slots are refused",
                    do=f"write redis+cluster://{server}",
                )
            else:
                report.ok(f"{server} is no Cluster")
        return
    masters = await patient.masters()
    views = await asyncio.gather(*(_view(patient, one) for one in masters), return_exceptions=True)
    answered = 0
    for server, view in zip(masters, views, strict=True):
        if isinstance(view, Unreachable):
            report.problem(
                f"{server} does not answer: {view.cause}",
                why="the jobs of its slots wait, and enqueueing there is refused, until a replica takes over",
                do=f"bring it back, or promote its replica: redis-cli -h REPLICA CLUSTER FAILOVER; "
                f"{redis_cli(_other(masters, server))} CLUSTER NODES shows who is whose",
            )
        elif isinstance(view, BaseException):
            raise view
        else:
            answered += 1
            _judge(server, *view, report, first=answered == 1)


async def _view(patient: Patient, server: str) -> tuple[dict[str, str], list[list[str]]]:
    info = read_info(text(await patient.on(server, "CLUSTER", "INFO")))
    try:
        lines = text(await patient.on(server, "CLUSTER", "NODES")).splitlines()
    except RedisRefused:
        lines = []
    return info, [line.split(" ") for line in lines]


def _judge(
    server: str, info: Mapping[str, str], nodes: list[list[str]], report: Report, *, first: bool
) -> None:
    """Write what one node sees; what all see is written once."""
    if first:
        uncovered = SLOTS - int(number(info, "cluster_slots_assigned"))
        failed = int(number(info, "cluster_slots_fail"))
        if uncovered:
            report.problem(
                f"{uncovered:,} of {SLOTS:,} slots belong to no node",
                why="shards in them can neither be enqueued to nor served, and by default the whole Cluster "
                "refuses",
                do=f"redis-cli --cluster fix {server}",
            )
        if failed:
            report.problem(
                f"{failed:,} of {SLOTS:,} slots belong to nodes that failed",
                why="the jobs in them wait, and enqueueing there is refused",
                do=f"bring the nodes back; {redis_cli(server)} CLUSTER NODES shows which",
            )
        failing = [f"{node[1].partition('@')[0]} ({node[2]})" for node in nodes if "fail" in node[2]]
        if failing:
            report.warning(
                f"{count(len(failing), 'node')} failing: {some(failing)}",
                why="one failure more may leave slots without a server",
                do=f"bring it back, or {redis_cli(server)} CLUSTER FORGET it",
            )
        if not (uncovered or failed or failing) and info.get("cluster_state") == "ok":
            report.ok(
                f"all {SLOTS:,} slots served by {info.get('cluster_size', '?')} masters, "
                f"{info.get('cluster_known_nodes', '?')} nodes"
            )
    if info.get("cluster_state") != "ok":
        report.problem(
            f"{server} says that the state of the Cluster is {info.get('cluster_state', '?')}",
            why="it refuses every command on keys",
            do=f"redis-cli --cluster check {server}",
        )
    moving = [word for node in nodes if "myself" in node[2] for word in node[8:] if word.startswith("[")]
    if moving:
        report.note(
            f"{count(len(moving), 'slot')} of {server} in migration: "
            + some([word.strip("[]").split("-")[0] for word in moving]),
            why="shards in them are served with delays until it has ended; one that was given up stays so",
            do=f"if no reshard is under way: redis-cli --cluster fix {server}",
        )


def _other(masters: list[str], server: str) -> str:
    return next((one for one in masters if one != server), server)


async def replicas(patient: Patient, report: Report) -> None:
    """Look whether a server may be lost, what that would lose, and how far replicas are behind."""
    kind = patient.connection.kind
    for server, info in (await patient.servers()).infos.items():
        if info.get("role") == "slave":
            report.problem(
                f"{server} is a replica of {info.get('master_host')}:{info.get('master_port')}",
                why="it refuses every write",
                do="use the URL of the master, or redis+sentinel:// which finds it",
            )
            continue
        lines = [
            {part.partition("=")[0]: part.partition("=")[2] for part in value.split(",")}
            for name, value in info.items()
            if name.startswith("slave") and name[5:].isdigit()
        ]
        if not lines:
            seen, why = f"{server} has no replica", "when its machine is lost, so are its jobs"
            if kind == "redis":
                report.note(seen, why=why, do="run Redis with Sentinel or as a Cluster, or keep backups")
            else:
                report.warning(
                    seen, why=why, do="add one: redis-cli -h NEW REPLICAOF …, or CLUSTER REPLICATE"
                )
            continue
        behind = _behind(patient, server, info, lines, report)
        await _quorum(patient, server, len(lines), report)
        report.ok(f"{server} has {count(len(lines), 'replica')}, {size(behind)} behind at most")


def _behind(
    patient: Patient, server: str, info: Mapping[str, str], lines: list[dict[str, str]], report: Report
) -> float:
    """Write which replicas are not up to date; return by how many bytes the last one is behind."""
    written = number(info, "master_repl_offset")
    most = 0.0
    for line in lines:
        name = f"{line.get('ip')}:{line.get('port')}"
        gap = max(0.0, written - number(line, "offset"))
        most = max(most, gap)
        if line.get("state") != "online":
            report.warning(
                f"replica {name} of {server} is in state {line.get('state')}",
                why="until it is online, a failover to it loses jobs",
                do=f"look at its log; {redis_cli(name)} INFO replication",
            )
        elif number(line, "lag") > patient.bounds.lag or gap > _FAR_BEHIND:
            report.warning(
                f"replica {name} of {server} is behind: {size(gap)}, heard {line.get('lag')} s ago",
                why="a failover to it loses that much: the newest jobs, and outcomes, whose jobs run again",
                do=f"look at its machine and the network; {redis_cli(name)} INFO replication",
            )
    return most


async def _quorum(patient: Patient, server: str, replicas: int, report: Report) -> None:
    try:
        config = await patient.config(server, "min-replicas-to-write")
    except RedisRefused as refused:
        report.note(f"{server} does not say what min-replicas-to-write is: {refused.message}")
        return
    needed = int(number(config, "min-replicas-to-write"))
    if not needed:
        report.note(
            f"min-replicas-to-write is 0 on {server}",
            why="a master that is cut off goes on to accept jobs, which are lost when it is a replica again",
            do=f"{redis_cli(server)} CONFIG SET min-replicas-to-write 1, and the same in redis.conf",
        )
    elif needed >= replicas > 0:
        report.note(
            f"min-replicas-to-write is {needed} on {server}, which has {count(replicas, 'replica')}",
            why="if one of them is lost, every enqueue is refused until it is back",
            do="add a replica",
        )
