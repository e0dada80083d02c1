"""Which jobs a command means: filters as they are typed, ids, or all; and how many they are."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

from typing_extensions import Unpack

from capelin.cli.times import read_span
from capelin.errors import ConfigurationError, InvalidOption
from capelin.ids import JobId
from capelin.records import JobStatus

if TYPE_CHECKING:
    from capelin.admin import Selection


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Jobs that something is to be done to: by id, or by what they are like."""

    ids: tuple[str, ...]
    selection: "Selection"


def selection(
    *,
    queue: str | None = None,
    status: Sequence[str] | None = None,
    task: str | None = None,
    older_than: str | None = None,
    newer_than: str | None = None,
    error: str | None = None,
    parent: str | None = None,
) -> "Selection":
    """Read filters as they were typed.

    Raises:
        InvalidOption: A status or an age is none.
        InvalidJobId: The parent is none.
    """
    from capelin.admin import Selection

    return Selection(
        queue=queue,
        statuses=frozenset(read_status(word) for word in status or ()),
        task=task,
        older_than=None if older_than is None else read_span("--older-than", older_than),
        newer_than=None if newer_than is None else read_span("--newer-than", newer_than),
        error=error,
        parent=None if parent is None else str(JobId.parse(parent)),
    )


class Filters(TypedDict, total=False):
    """Filters as they were typed; see ``selection``."""

    queue: str | None
    status: Sequence[str] | None
    task: str | None
    error: str | None
    older_than: str | None
    newer_than: str | None


def choose(
    verb: str, ids: Sequence[str] | None, *, every: bool = False, **filters: Unpack[Filters]
) -> Chosen:
    """Read which jobs somebody means, and check that it was said, and not in two ways.

    Args:
        verb: The command, for the message.
        ids: Ids of jobs.
        every: Whether ``--all`` was given.
        filters: As they were typed.

    Raises:
        ConfigurationError: Nothing was said, or two things that do not go together.
        InvalidOption: A status or an age is none.
    """
    wanted = selection(**filters)
    if not (ids or every or not wanted.everything):
        raise ConfigurationError(
            f"which jobs? capelin {verb} ID… | --task TASK | --queue QUEUE | --error PATTERN | --all"
        )
    if ids and (every or not wanted.everything):
        raise ConfigurationError(f"capelin {verb}: ids do not go together with --all and with filters")
    return Chosen(ids=tuple(ids or ()), selection=wanted)


def read_status(text: str) -> JobStatus:
    """Read a status.

    Raises:
        InvalidOption: It is none.
    """
    try:
        return JobStatus(text)
    except ValueError:
        known = [status.value for status in JobStatus]
        near = difflib.get_close_matches(text, known, n=1)
        why = f"did you mean {near[0]!r}?" if near else f"one of {', '.join(known)}"
        raise InvalidOption(option="--status", value=text, why=why) from None


def counted(count: int, one: str = "job", many: str = "jobs") -> str:
    """Write how many.

    >>> counted(1), counted(1200)
    ('1 job', '1,200 jobs')
    """
    return f"{count:,} {one if count == 1 else many}"
