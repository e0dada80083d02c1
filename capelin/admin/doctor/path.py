"""Checks of the way to Redis: how long a round trip takes, and whether the clocks agree."""

import statistics
import time
from collections.abc import Mapping

from capelin.admin.doctor.finding import Report
from capelin.admin.doctor.patient import Patient
from capelin.admin.doctor.words import redis_cli


async def latency(patient: Patient, report: Report) -> None:
    """Time round trips to each server."""
    for server in patient.up:
        trips: list[float] = []
        for _ in range(patient.bounds.samples):
            begin = time.perf_counter()
            await patient.on(server, "PING")
            trips.append(time.perf_counter() - begin)
        median, worst = statistics.median(trips), max(trips)
        seen = f"{_ms(median)} a round trip, the worst of {len(trips)} {_ms(worst)}, to {server}"
        if median > patient.bounds.slow:
            report.warning(
                seen,
                why="each step of a job waits for a round trip: a worker starts fewer a second",
                do="run workers and Redis in one region and zone",
            )
        elif worst > patient.bounds.stalls:
            report.warning(
                seen,
                why="something holds the server or the network up, and leases live by renewals in time",
                do=f"{redis_cli(server)} SLOWLOG GET 10, and {redis_cli(server)} LATENCY DOCTOR",
            )
        else:
            report.ok(seen)


async def clock(patient: Patient, report: Report) -> None:
    """Compare the servers' clocks with this machine's, and with each other's."""
    offsets: dict[str, float] = {}
    error = 0.0
    for server in patient.up:
        # The quickest of a few round trips says it best: the answer was made half way.
        best: tuple[float, float] | None = None
        for _ in range(3):
            before, begin = patient.clock(), time.perf_counter()
            seconds, micros = await patient.on(server, "TIME")
            took = time.perf_counter() - begin
            offset = int(seconds) + int(micros) / 1e6 - (before + took / 2)
            best = min((took, offset), best or (took, offset))
        if best is not None:
            error, offsets[server] = max(error, best[0] / 2), best[1]
    judge_clocks(offsets, error, patient.bounds.clock, report)


def judge_clocks(offsets: Mapping[str, float], error: float, bound: float, report: Report) -> None:
    """Write what clocks say.

    Args:
        offsets: How many seconds each server is ahead of this machine.
        error: How exact that is, seconds.
        bound: What is too much, seconds.
        report: Where to write it.
    """
    for server, offset in offsets.items():
        seen = f"{_apart(offset)} this machine's clock (± {_ms(error)}): that of {server}"
        if abs(offset) > bound + error:
            report.warning(
                seen,
                why="capelin goes by Redis's clock: what this machine enqueues with at= comes at another "
                "moment, and times in its logs do not match",
                do="let both machines follow NTP: timedatectl set-ntp true",
            )
        else:
            report.ok(seen)
    if len(offsets) > 1:
        apart = max(offsets.values()) - min(offsets.values())
        if apart > bound + 2 * error:
            slow, fast = (pick(offsets, key=lambda one: offsets[one]) for pick in (min, max))
            report.warning(
                f"the clocks of {slow} and {fast} are {apart:.1f} s apart",
                why="schedules and the shards of their queues go by different clocks, and a slot that moves "
                "takes its leases and due jobs to another time",
                do="let every node follow NTP: timedatectl set-ntp true",
            )


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _apart(offset: float) -> str:
    return f"{_ms(abs(offset))} {'ahead of' if offset >= 0 else 'behind'}"
