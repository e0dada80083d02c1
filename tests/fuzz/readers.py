"""What reads text that anybody may have written: URLs, schedules, payloads, records, headers, names."""

import random
from collections.abc import Callable, Mapping

from capelin.connection.urls import parse_url
from capelin.ids import JobId
from capelin.keys import Keys
from capelin.options import CallOptions
from capelin.probes.server import Address
from capelin.records import read_error, read_info
from capelin.sealing import new_key, seal_of
from capelin.signatures import Signature
from capelin.timing import parse_cron
from tests.fuzz.words import Target, text

_FIELDS = (
    "a",
    "attempt",
    "cancel",
    "correlation",
    "due",
    "error",
    "expires",
    "headers",
    "on_failure",
    "priority",
    "progress",
    "result",
    "retention",
    "retry",
    "status",
    "task",
    "then",
    "tick",
    "timeout",
    "token",
)
_SEAL = seal_of(new_key())


def _payload(number: int, words: list[str] | None = None, *, flag: bool = False) -> None:
    del number, words, flag


_SIGNATURE = Signature.of(_payload, "fuzzed")


def url(draw: random.Random) -> None:
    parse_url(text(draw))


def schedule(draw: random.Random) -> None:
    fields = " ".join(text(draw) or "*" for _ in range(5))
    parse_cron(fields if draw.random() < 0.5 else text(draw)).explain()


def payload(draw: random.Random) -> None:
    _SIGNATURE.decode(_SEAL.open_args(text(draw).encode(errors="replace"), "fuzzed"))


def record(draw: random.Random) -> None:
    fields: list[bytes] = [b"status", draw.choice([b"completed", b"failed", b"queued"])]
    for name in draw.sample(_FIELDS, draw.randrange(len(_FIELDS))):
        fields += [name.encode(), draw.choice([text(draw).encode(errors="replace"), draw.randbytes(8)])]
    failures = [text(draw).encode(errors="replace")]
    repr(read_info(Keys("fuzz").shard("q", 0), "u", fields, failures, seal=_SEAL))
    read_error(text(draw), seal=_SEAL, uid="u")


def headers(draw: random.Random) -> None:
    CallOptions(headers={text(draw): text(draw)}, dedupe_key=text(draw))


def names(draw: random.Random) -> None:
    readers: tuple[Callable[[str], object], ...] = (JobId.parse, Address.parse, Keys)
    draw.choice(readers)(text(draw))


READERS: Mapping[str, Target] = {
    "headers": headers,
    "names": names,
    "payload": payload,
    "record": record,
    "schedule": schedule,
    "url": url,
}
