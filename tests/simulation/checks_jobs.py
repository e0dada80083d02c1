"""What became of each job: guarantees 1, 2, 6, 7, 9, 10 and 13."""

import json
import re
from collections import Counter, defaultdict
from itertools import pairwise

from tests.simulation.apps import RETRIES, SETTINGS
from tests.simulation.checks import Found
from tests.simulation.drawing import WINDOW
from tests.simulation.history import Submitted
from tests.simulation.records import LIVE

_UNIQUE = re.compile(rb".+:\{(?P<queue>[^:}]+):(?P<shard>\d+)\}:unique:.+")
_PAYLOADS = ("args", "result", "error", "headers", "then", "on_failure")


def accepted_jobs_exist(found: Found) -> None:
    """Guarantee 1: what was confirmed has a record, for as long as it is to be kept.

    A failover may take it, but not from who waited until a replica had it (`min_replicas`).
    """
    history, now = found.history, found.history.clock()
    for entry in history.submitted:
        if entry.job is None or entry.confirmed_at is None:
            continue
        history.holds(1)
        copied = entry.options.get("min_replicas", 0) > 0
        if entry.job in found.jobs or any(
            loss.since <= entry.confirmed_at + 5 and not (copied and loss.spares_copies)
            for loss in history.forgot_job(entry.job)
        ):
            continue
        kept = entry.options.get("retention")
        if kept is None or now - entry.confirmed_at < SETTINGS.resend_window:
            history.problem(f"{entry.n} was accepted as {entry.job}, of which there is no record")


def jobs_end_as_their_tasks_do(found: Found) -> None:
    """Guarantee 1: what was accepted ends, and as its task ends."""
    history = found.history
    for entry in history.submitted:
        record = _plain(found, entry)
        if record is None:
            continue
        history.holds(1)
        status = record["status"]
        if status == "completed" and record.get("result") not in (str(entry.n * 2), None):
            history.problem(f"the result of {entry.job} is {record.get('result')}, not {entry.n * 2}")
        told = (repr(entry.n * 2), "None", "JobNotFound" if "cut" in record else "None")
        if status == "completed" and (entry.result or "None").split(":")[0] not in told:
            history.problem(f"who waited for {entry.n} was told {entry.result}")
        refused = "Reject" in record.get("error", "") or "is not wanted" in record.get("error", "")
        if status == "failed" and not _crashed(record) and not refused and not _wrong(record):
            if int(record.get("attempt", 0)) < RETRIES:
                history.problem(
                    f"{entry.job} failed after {record.get('attempt')} attempts: {record.get('error')}"
                )
        elif status == "cancelled" and "expires" not in record and "cut" not in record:
            history.problem(f"{entry.job} is cancelled, which nobody asked for: {record.get('error')}")


def completed_once(found: Found) -> None:
    """Guarantee 2: a job is completed by one start, which somebody began."""
    history = found.history
    began = {(start.job, start.token) for start in history.begun}
    completed = {(r.job, r.token) for r in history.recorded if r.kind == "complete"}
    for job, token in sorted(completed - began):
        history.problem(f"{job} was recorded as completed under token {token}, which nobody began")
    completions = Counter(recorded.job for recorded in history.recorded if recorded.kind == "complete")
    for job, times in completions.items():
        history.holds(2)
        if times > 1 and job not in history.replayed and not found.forgotten(job):
            history.problem(f"{job} was completed {times} times")


def what_follows_an_end_follows_it_once(found: Found) -> None:
    """Guarantee 2, of `then` and `on_failure`."""
    history = found.history
    followers = Counter(record["parent"] for record in found.jobs.values() if "parent" in record)
    for job, record in found.jobs.items():
        if job in history.replayed | history.torn or found.forgotten(job) or "cut" in record:
            continue
        wanted = 0
        if record["status"] == "completed" and "then" in record:
            wanted = 1
        if record["task"] in ("work", "poison") and record["status"] == "failed" and "on_failure" in record:
            wanted = 1
        told = followers[job.rpartition(".")[2]]
        history.holds(2, wanted)
        if told != wanted:
            history.problem(f"{job} ({record['status']}) has {told} jobs that follow it, not {wanted}")


def no_request_becomes_two_jobs(found: Found) -> None:
    """Guarantee 6: whatever replies were lost, one request is at most one job."""
    history = found.history
    keyed = {entry.n for entry in history.submitted if entry.key is not None}
    jobs: defaultdict[tuple[str, int], set[str]] = defaultdict(set)
    for start in history.begun:
        if start.n and start.n not in keyed:
            jobs[start.task, start.n].add(start.job)
    for entry in history.submitted:
        if entry.job is not None and entry.n not in keyed:
            jobs[entry.task, entry.n].add(entry.job)
    for (task, n), ids in jobs.items():
        history.holds(6)
        # Of a queue that was cut anew, what is sent again may go elsewhere: where the first job is forgotten.
        forgot = history.cuts and any(map(found.forgotten, ids))
        if len(ids) > 1 and not forgot:
            history.problem(f"{task}({n}) was asked for once and became {len(ids)} jobs: {sorted(ids)}")


def a_window_has_one_job(found: Found) -> None:
    """Guarantee 7, of keys that hold for a time."""
    history = found.history
    if found.layouts_forgotten:
        return
    begun: dict[str, int] = {}
    for entry in history.submitted:
        record = found.jobs.get(entry.job or "")
        if (
            "dedupe_for" in entry.options
            and record is not None
            and entry.job
            and not found.forgotten(entry.job)
        ):
            begun[entry.job] = int(record["enqueued"])
    for (first, at), (second, later) in pairwise(sorted(begun.items(), key=lambda item: item[1])):
        history.holds(7)
        if later - at < WINDOW * 1000:
            history.problem(f"within {later - at} ms one window's key had two jobs: {first} and {second}")


def duplicates_are_told_of_the_first(found: Found) -> None:
    """Guarantee 7: a second submit gets the handle of a job with its key, and is told so."""
    history = found.history
    for entry in history.submitted:
        if not entry.duplicate or entry.job is None:
            continue
        history.holds(7)
        if entry.key is None:
            history.problem(f"{entry.n} has no key and was told that it is a duplicate of {entry.job}")
        record = found.jobs.get(entry.job)
        if record is not None and "cut" not in record and record.get("key") != entry.key:
            history.problem(
                f"{entry.n} with the key {entry.key} was told of {entry.job}: {record.get('key')}"
            )


def keys_are_held_by_the_living(found: Found) -> None:
    """Guarantee 7: an end frees its key, in whichever shard it was held; a window ends by itself."""
    for server in found.world.servers.masters:
        for key in server.all_keys():
            match = _UNIQUE.fullmatch(key)
            if match is None or server.expires(key):
                continue
            found.history.holds(7)
            uid = server.ask("GET", key)
            job = f"{match['queue'].decode()}.{match['shard'].decode()}.{uid}"
            status = found.jobs.get(job, {}).get("status")
            if status not in LIVE:
                found.history.problem(f"{key.decode()} is held by {job}, which is {status}")


def poison_is_set_aside(found: Found) -> None:
    """Guarantee 9: what kills its worker ends, what is wrong never starts, what cannot be read is seen."""
    history = found.history
    starts = Counter(start.job for start in history.begun)
    for entry in history.submitted:
        record = found.jobs.get(entry.job or "")
        if record is None or entry.job is None or found.forgotten(entry.job):
            continue
        if entry.job in found.cancelled | history.replayed | history.torn:
            continue
        if entry.task == "poison":
            history.holds(9)
            crashes = int(record.get("crashes", 0))
            if record["status"] != "failed" or crashes != SETTINGS.max_crashes:
                history.problem(f"{entry.job} killed its workers and is {record['status']} after {crashes}")
        elif record.get("error", "").find("InvalidArguments") >= 0:
            history.holds(9)
            if starts[entry.job]:
                history.problem(f"{entry.job} has wrong arguments and began")
    for job in history.torn:
        history.holds(9)
        status = found.jobs.get(job, {}).get("status")
        if status not in ("failed", "completed", "cancelled", None) and not found.forgotten(job):
            history.problem(f"{job} was torn and is {status}")


def what_only_a_newer_release_can_run_is_run(found: Found) -> None:
    """Guarantee 10: jobs of a new task, or of a signature that changed, end as others do."""
    history = found.history
    for entry in history.submitted:
        if entry.task in ("fresh", "shaped") and (record := _plain(found, entry)) is not None:
            history.holds(10)
            if record["status"] not in ("completed", "cancelled") and not _crashed(record):
                history.problem(f"{entry.job} of {entry.task} is {record['status']}: {record.get('error')}")


def payloads_are_json(found: Found) -> None:
    """Guarantee 13."""
    for job, record in found.jobs.items():
        if job in found.history.torn:
            continue
        for name in _PAYLOADS:
            if name in record:
                found.history.holds(13)
                try:
                    json.loads(record[name])
                except ValueError:
                    found.history.problem(f"{name} of {job} is no JSON: {record[name][:100]}")


def _plain(found: Found, entry: Submitted) -> dict[str, str] | None:
    """The record of a job that ends as its task does; None where something else may have decided."""
    job = entry.job
    record = found.jobs.get(job or "")
    if job is None or record is None or entry.key is not None or found.forgotten(job):
        return None
    excused = found.cancelled | found.history.replayed | found.history.torn
    return None if job in excused else record


def _crashed(record: dict[str, str]) -> bool:
    """Whether its workers died so often that it counts as their killer; its neighbour may have been."""
    return int(record.get("crashes", 0)) >= SETTINGS.max_crashes


def _wrong(record: dict[str, str]) -> bool:
    return "InvalidArguments" in record.get("error", "")
