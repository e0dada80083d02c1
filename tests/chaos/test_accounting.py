"""The account finds what is lost, what is recorded twice, and what nothing explains."""

from collections.abc import Generator, Iterable
from contextlib import contextmanager

import pytest

from tests.chaos.account import Account, Accountant, Other
from tests.chaos.journal import journal_of
from tests.chaos.pods import Pod, Release
from tests.chaos.scene import Disturbance, Kind
from tests.support.census import Census, Standing
from tests.support.processes import Processes

JOB, A, B = "default.3.x", "worker-a", "worker-b"
ACCEPTED = f"accepted {JOB} 100.0"
STARTED = f"start {JOB} 1 {A} 101.0 quick -"
ENDED = f"end {JOB} 1 {A} 101.5"
RECORDED = f"recorded {JOB} 1 {A} complete recorded 101.6"
AGAIN = (
    f"start {JOB} 2 {B} 106.0 quick -",
    f"end {JOB} 2 {B} 106.5",
    f"recorded {JOB} 2 {B} complete recorded 106.6",
)
DONE = Census(jobs={})


def account_of(
    lines: Iterable[str],
    *happened: Disturbance,
    pods: Iterable[Pod] = (),
    census: Census = DONE,
    copied: bool = False,
) -> Account:
    accountant = Accountant(
        journal_of(lines), pods=list(pods), happened=happened, ttl=2.0, ended=200.0, copied=copied
    )
    return accountant.make(census)


@contextmanager
def pod(worker: str) -> Generator[Pod]:
    """A pod whose process says nothing."""
    with Processes() as processes:
        yield Pod(child=processes.python("-c", ""), release=Release.ONE, id=worker)


def disturbed(kind: Kind, at: float, until: float, *workers: str, may_lose: bool = False) -> Disturbance:
    return Disturbance(kind=kind, at=at, until=until, workers=workers, may_lose=may_lose)


def test_a_job_that_ran_once_is_recorded_once() -> None:
    account = account_of([ACCEPTED, STARTED, ENDED, RECORDED])
    assert (account.enqueued, account.once, account.twice, account.good) == (1, 1, 0, True)


def test_a_job_that_never_ran_is_lost() -> None:
    account = account_of([ACCEPTED])
    assert (account.lost, account.good) == ([JOB], False)


def test_a_job_that_is_still_somewhere_is_left_and_not_lost() -> None:
    standing = Standing(id=JOB, record={"status": "queued"})
    account = account_of([ACCEPTED], census=Census(jobs={JOB: standing}))
    assert account.lost == []
    assert "is left queued" in account.problems[0]


def test_an_enqueue_that_was_confirmed_just_before_a_failover_may_be_gone() -> None:
    failover = disturbed(Kind.MASTER_KILLED, 100.3, 104.0, may_lose=True)
    account = account_of([ACCEPTED], failover)
    assert (account.lost, account.gone, account.good) == ([], 1, True)
    assert account.failovers[failover].before == pytest.approx([0.3])


def test_an_enqueue_that_a_replaced_master_confirmed_is_told_apart() -> None:
    failover = disturbed(Kind.MASTER_PAUSED, 98.0, 104.0, may_lose=True)
    account = account_of([ACCEPTED], failover)
    assert account.failovers[failover].after == pytest.approx([2.0])


def test_an_enqueue_that_waited_for_a_replica_may_not_go_with_a_failover() -> None:
    failover = disturbed(Kind.MASTER_KILLED, 100.3, 104.0, may_lose=True)
    account = account_of([ACCEPTED], failover, copied=True)
    assert (account.lost, account.gone, account.good) == ([JOB], 0, False)


def test_a_failover_of_other_shards_explains_no_loss() -> None:
    failover = disturbed(Kind.MASTER_KILLED, 100.3, 104.0, may_lose=True)
    failover.shards = frozenset({"default.4"})
    assert account_of([ACCEPTED], failover).lost == [JOB]


def test_a_failover_long_after_the_enqueue_explains_no_loss() -> None:
    assert account_of([ACCEPTED], disturbed(Kind.MASTER_KILLED, 110, 114, may_lose=True)).lost == [JOB]


@pytest.mark.parametrize("kind", [Kind.KILLED, Kind.PAUSED, Kind.STARVED, Kind.HUNGRY, Kind.CUT_OFF])
def test_what_takes_a_stake_explains_a_second_start(kind: Kind) -> None:
    account = account_of([ACCEPTED, STARTED, *AGAIN], disturbed(kind, 102, 103, A))
    assert (account.problems, account.reasons) == ([], {kind: 1})
    assert account.recovery[kind] == [4.0]


@pytest.mark.parametrize("kind", [Kind.BLOCKED, Kind.CUT, Kind.REDIS_KILLED, Kind.ALL_CUT_OFF])
def test_what_takes_no_stake_explains_none(kind: Kind) -> None:
    account = account_of([ACCEPTED, STARTED, *AGAIN], disturbed(kind, 102, 103, A))
    assert f"nothing explains that {JOB}" in account.problems[0]


@pytest.mark.parametrize(
    "other",
    [
        disturbed(Kind.KILLED, 102, 103, B),
        disturbed(Kind.KILLED, 107, 107, A),
        disturbed(Kind.PAUSED, 98, 99, A),
    ],
    ids=["of another worker", "afterwards", "before it began"],
)
def test_a_disturbance_elsewhere_explains_nothing(other: Disturbance) -> None:
    assert account_of([ACCEPTED, STARTED, *AGAIN], other).problems


def test_a_start_after_a_recorded_end_is_explained_by_no_kill() -> None:
    lines = [ACCEPTED, STARTED, ENDED, RECORDED, *AGAIN]
    account = account_of(lines, disturbed(Kind.KILLED, 102, 102, A))
    assert len(account.problems) == 2  # it started again, and it was recorded again


def test_a_failover_that_forgot_the_end_explains_both() -> None:
    failover = disturbed(Kind.MASTER_KILLED, 101.7, 104.0, may_lose=True)
    account = account_of([ACCEPTED, STARTED, ENDED, RECORDED, *AGAIN], failover)
    assert (account.problems, account.recorded_twice_in_failover) == ([], 1)
    assert account.reasons == {Other.FORGOTTEN: 1}


def test_one_token_for_two_starts_is_a_problem_whoever_was_killed() -> None:
    again = [line.replace(f"{JOB} 2", f"{JOB} 1") for line in AGAIN]
    assert account_of([ACCEPTED, STARTED, *again], disturbed(Kind.KILLED, 102, 102, A)).problems


def test_an_attempt_that_failed_explains_the_next() -> None:
    account = account_of([ACCEPTED, STARTED, f"failed {JOB} 1 {A} 101.5", *AGAIN])
    assert (account.problems, account.reasons) == ([], {Other.ASKED: 1})


def test_a_worker_that_was_told_to_stop_explains_the_next_start() -> None:
    with pod(A) as stopped:
        stopped.told = 104.0
        account = account_of([ACCEPTED, STARTED, *AGAIN], pods=[stopped])
    assert account.reasons == {Other.HANDED_BACK: 1}


@pytest.mark.parametrize(("span", "explained"), [("101.2 103.0", True), ("101.2 101.4", False)])
def test_only_a_worker_that_stood_still_for_long_lost_its_stake_to_the_machine(
    span: str, *, explained: bool
) -> None:
    with pod(A) as slow:
        account = account_of([ACCEPTED, STARTED, f"still {slow.child.pid} {span}", *AGAIN], pods=[slow])
    assert (account.problems == []) is explained


def test_a_tick_with_two_jobs_is_a_problem() -> None:
    lines = [f"start ticks.{n}.x 1 {A} 101.0 tick 100" for n in (1, 2)]
    assert "the tick 100 has 2 jobs" in account_of(lines).problems[0]


def test_two_saves_of_one_number_are_a_problem() -> None:
    assert account_of([f"saved 7 {fence} {A} 101.{fence}" for fence in (1, 2)]).problems
    assert account_of([f"saved {fence} {fence} {A} 101.{fence}" for fence in (1, 2)]).problems == []


def test_a_ledger_with_an_alien_line_is_refused() -> None:
    with pytest.raises(ValueError, match="nobody writes"):
        journal_of(["what is this"])


def test_a_start_that_a_paused_worker_began_too_late_is_explained_by_the_pause() -> None:
    late = [f"start {JOB} 1 {A} 106.8 quick -", f"end {JOB} 1 {A} 106.8"]
    assert account_of([ACCEPTED, *AGAIN, *late], disturbed(Kind.PAUSED, 102, 106.7, A)).reasons == {
        Kind.PAUSED: 1
    }
    assert account_of([ACCEPTED, *AGAIN, *late], disturbed(Kind.PAUSED, 102, 106.7, B)).problems
    assert account_of([ACCEPTED, *AGAIN, *late]).problems
