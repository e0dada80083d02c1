"""Names, durations, ids, keys and errors: the small words that everything else is said with."""

import inspect
import itertools
import math
import pickle
import re
import zlib
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capelin import errors
from capelin.durations import milliseconds, seconds
from capelin.errors import CapelinError, InvalidJobId, InvalidName, InvalidOption, UnknownTask
from capelin.ids import MAX_DERIVED_LENGTH, JobId, derived_uid, new_uid
from capelin.keys import Keys, shard_of
from capelin.names import MAX_NAME_LENGTH, check_name
from capelin.priority import DEFAULT_WEIGHTS, RETURNED, STREAMS, Priority

NAMES = st.text("abcXYZ019_-", min_size=1, max_size=20)
DOTTED = st.lists(NAMES, min_size=1, max_size=4).map(".".join)


# Names


@pytest.mark.parametrize("name", ["a", "email.send", "A-1_b.c", "0", "x" * MAX_NAME_LENGTH])
def test_a_name_of_letters_digits_and_three_signs_is_allowed(name: str) -> None:
    assert check_name("queue", name) == name


@pytest.mark.parametrize(
    "name", ["", "a b", "a:b", "{a}", "ä", "a\n", "a/b", "x" * (MAX_NAME_LENGTH + 1), None, 5, b"a"]
)
def test_any_other_name_is_refused(name: Any) -> None:
    with pytest.raises(InvalidName, match=r"queue name .* is not allowed") as error:
        check_name("queue", name)

    assert error.value.kind == "queue"
    assert len(str(error.value)) < 200


@given(st.text())
def test_a_name_that_passes_needs_no_quoting_anywhere(text: str) -> None:
    try:
        check_name("task", text)
    except InvalidName:
        assert not re.fullmatch(r"[A-Za-z0-9_.-]{1,200}", text)
    else:
        assert re.fullmatch(r"[A-Za-z0-9_.-]{1,200}", text)


# Durations


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, 0.0), (5, 5.0), (0.25, 0.25), (timedelta(minutes=1, milliseconds=1), 60.001), (timedelta(0), 0.0)],
)
def test_a_duration_is_seconds_or_a_timedelta(value: Any, expected: float) -> None:
    result = seconds("delay", value)

    assert result == expected
    assert type(result) is float


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (-1, "must be at least 0 s"),
        (timedelta(seconds=-1), "must be at least 0 s"),
        (math.nan, "must be finite"),
        (math.inf, "must be finite"),
        ("5", "expected seconds (a number) or a timedelta"),
        (True, "expected seconds"),
        (None, "expected seconds"),
    ],
)
def test_any_other_duration_is_refused(value: Any, why: str) -> None:
    with pytest.raises(InvalidOption) as error:
        seconds("delay", value)

    assert why in str(error.value)
    assert error.value.option == "delay"


def test_a_duration_may_have_a_minimum() -> None:
    assert seconds("ttl", 1, minimum=1) == 1
    with pytest.raises(InvalidOption, match="must be at least 1 s"):
        seconds("ttl", 0.9, minimum=1)


@given(st.floats(0, 1e9))
def test_milliseconds_are_whole_and_come_no_earlier(value: float) -> None:
    result = milliseconds(value)

    assert type(result) is int
    assert -1e-5 <= result - value * 1000 < 1


def test_whole_milliseconds_stay_as_they_are() -> None:
    assert [milliseconds(number / 1000) for number in range(10_000)] == list(range(10_000))


# Ids


def test_uids_are_names_that_sort_by_their_time() -> None:
    uids = [new_uid() for _ in range(1000)]

    assert len(set(uids)) == 1000
    assert uids == sorted(uids)
    assert {len(uid) for uid in uids} == {26}
    assert all(re.fullmatch("[0-9a-v]{26}", uid) for uid in uids)


@given(DOTTED, st.integers(0, 2000), NAMES)
def test_an_id_is_put_together_and_taken_apart(queue: str, shard: int, uid: str) -> None:
    job_id = JobId(queue=queue, shard=shard, uid=uid)

    assert JobId.parse(str(job_id)) == job_id


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "a.b",
        "a.b.c",
        "a.1.",
        ".1.x",
        "a..x",
        "a.-1.x",
        "a.1.5.",
        "a.².x",
        "a.1_0.x",
        None,
        5,
        b"a.1.x",
    ],
)
def test_a_text_that_is_no_id_is_refused(text: Any) -> None:
    with pytest.raises(InvalidJobId, match="is not a job id; one looks like"):
        JobId.parse(text)


def test_an_id_with_letters_that_keys_do_not_allow_is_refused() -> None:
    with pytest.raises(InvalidName):
        JobId.parse("a b.1.x")


def test_a_derived_uid_is_the_same_for_the_same_names_and_has_no_dots() -> None:
    assert derived_uid("then", "06dp.vg") == derived_uid("then", "06dp.vg") == "then-06dp_dvg"
    assert JobId.parse(f"q.3.{derived_uid('a.b', '1')}").uid == "a_db-1"


@pytest.mark.parametrize("parts", [("a", "b c"), ("a", ""), (), ("a{b}",), ("x" * (MAX_NAME_LENGTH + 1),)])
def test_a_derived_uid_is_made_of_names_alone(parts: tuple[str, ...]) -> None:
    with pytest.raises(InvalidName):
        derived_uid(*parts)


def test_other_names_make_another_derived_uid_which_no_child_of_a_job_has() -> None:
    names = ["".join(chars) for length in (1, 2, 3) for chars in itertools.product("t1_.-", repeat=length)]
    tuples = [(name,) for name in names] + list(itertools.product(names, repeat=2))
    uids = {derived_uid(*parts) for parts in tuples}
    assert len(uids) == len(tuples)
    assert not [uid for uid in uids if "." in uid or re.search(r"-[tf]\d+$", uid)]
    assert {check_name("job uid", uid) for uid in uids} == uids


def test_long_names_make_other_derived_uids_too() -> None:
    names = [
        "x" * length + end for length in (60, 119, 120, MAX_NAME_LENGTH - 2) for end in ("a", "b", "_", "-")
    ]
    tuples = [(name,) for name in names] + [(name, tick) for name in names for tick in ("1", "2", "t1")]
    uids = {derived_uid(*parts) for parts in tuples}
    assert len(uids) == len(tuples)
    assert max(len(uid) for uid in uids) == MAX_DERIVED_LENGTH
    assert not [uid for uid in uids if re.search(r"-[tf]\d+$", uid)]


# Keys


def test_all_keys_of_a_shard_share_one_slot() -> None:
    shard = Keys("pre").shard("emails", 3)
    keys = [
        *shard.streams,
        shard.scheduled,
        shard.finished,
        shard.dlq,
        shard.meta,
        shard.wake,
        shard.lease,
        shard.stakes,
        shard.job("x"),
        shard.failures("x"),
        shard.unique("email.send", "a{b}c"),
        shard.parked("email.send"),
        shard.result_channel("x"),
    ]

    assert len(set(keys)) == len(keys)
    assert all(key.startswith("pre:{emails:3}:") for key in keys)


def test_a_shard_tells_the_ids_of_its_jobs() -> None:
    shard = Keys().shard("emails", 3)

    assert JobId.parse(shard.job_id("x")) == JobId(queue="emails", shard=3, uid="x")
    assert shard.job("x").endswith(":job:emails.3.x")
    assert str(shard) == "emails:3"


def test_two_prefixes_share_no_key() -> None:
    one, two = Keys("one"), Keys("two")

    assert one.queues != two.queues
    assert one.shard("q", 0).meta != two.shard("q", 0).meta
    assert one.queue_meta("q") == "one:{q}:meta"
    with pytest.raises(InvalidName, match="prefix name"):
        Keys("a:b")


@given(st.text(), st.integers(1, 64))
def test_a_key_belongs_to_one_shard_for_ever(text: str, shards: int) -> None:
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        return
    assert shard_of(text, shards) == zlib.crc32(text.encode()) % shards


def test_the_shard_of_a_key_is_part_of_the_stored_format() -> None:
    keys = ("", "welcome:42", "b", "order 7", "é")

    assert [shard_of(key, 8) for key in keys] == [0, 3, 1, 7, 6]


# Priorities


def test_returned_jobs_are_read_first_and_then_the_priorities_by_their_weight() -> None:
    assert STREAMS[:5] == (RETURNED, "critical", "high", "normal", "low")
    assert [DEFAULT_WEIGHTS[priority] for priority in Priority] == [4, 3, 2, 1]


# Errors

ERRORS = [
    error
    for _, error in inspect.getmembers(errors, inspect.isclass)
    if issubclass(error, CapelinError) and error.__module__ == errors.__name__
]


@pytest.mark.parametrize("error", ERRORS)
def test_every_error_says_in_a_sentence_when_it_is_raised(error: type[CapelinError]) -> None:
    assert error.__doc__
    assert error.__doc__ != CapelinError.__doc__ or error is CapelinError
    assert error.__doc__.split("\n")[0].endswith((".", ":"))


SAMPLES: list[CapelinError] = [
    errors.InvalidOption(option="delay", value=-1, why="no"),
    errors.InvalidName(kind="queue", name="a b", why="no"),
    errors.InvalidTask(task="t", why="no"),
    errors.InvalidURL(url="x", why="no"),
    errors.InvalidJobId(job_id="x"),
    errors.InvalidArguments(task="t", why="no"),
    errors.InvalidResult(task="t", why="no"),
    errors.PayloadTooLarge(task="t", size=2, limit=1),
    errors.UnknownTask(task="t", known=["s"]),
    errors.Unreachable(url="redis://x", cause="refused"),
    errors.RedisRefused(message="OOM", script="enqueue"),
    errors.UnsupportedSchema(queue="q", found=2, supported=1),
    errors.QueueFull(enqueued=[], unsent=[0], causes=[errors.RedisRefused(message="full")]),
    errors.JobNotFound(job_id="q.1.x"),
    errors.JobFailed(job_id="q.1.x", error_type="KeyError", error_message="a"),
    errors.JobCancelled(job_id="q.1.x"),
    errors.JobConflict(job_id="q.1.x", status="running", wanted="only dead jobs are replayed"),
    errors.SyncInAsync(function="enqueue_sync"),
    errors.NoCurrentJob(),
    errors.NoApp(task="t"),
    errors.NoApp(task="t", apps=["a", "b"]),
    errors.NoResources(why="none"),
    errors.NotInThisProcess(what="progress()"),
    errors.JobTimeout(timeout=1),
]


@pytest.mark.parametrize("error", SAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_crosses_process_boundaries_with_its_fields(error: CapelinError) -> None:
    back = pickle.loads(pickle.dumps(error))  # noqa: S301 -- what the process pool does

    assert type(back) is type(error)
    assert str(back) == str(error)
    assert vars(back).keys() == vars(error).keys()


def test_an_unknown_task_suggests_the_nearest_name_or_none() -> None:
    assert "did you mean 'email.send'?" in str(UnknownTask(task="email.sent", known=["email.send", "sum"]))
    assert str(UnknownTask(task="zzz", known=["email.send"])) == "no task named 'zzz' in this app"
