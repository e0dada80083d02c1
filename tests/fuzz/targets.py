"""What reads text that anybody may have written, and the errors that it may end with."""

import random
from collections.abc import Callable, Mapping

from capelin.connection.urls import parse_url
from capelin.errors import CapelinError
from capelin.ids import JobId
from capelin.keys import Keys
from capelin.options import CallOptions
from capelin.probes.server import Address
from capelin.records import read_error, read_info
from capelin.sealing import new_key, seal_of
from capelin.signatures import Signature
from capelin.timing import parse_cron

Target = Callable[[random.Random], None]

_WORDS = (
    "redis://",
    "rediss+cluster://",
    "memory://",
    "@",
    ":",
    "/",
    "?ssl_ca_certs=",
    "&",
    "password=",
    "[::1]",
    "%",
    "*",
    "*/5",
    "mon-fri",
    "0 9 * * *",
    "L",
    "#",
    "-",
    ",",
    "[[",
    "]",
    "{",
    "}",
    '"',
    "null",
    "1e999",
    "-0",
    "NaN",
    "\\ud800",
    "\\u0000",
    '{"$sealed":"',
    "1.",
    "é",
    "\U0001f41f",
    "\x00",
    "\n",
    " ",
    "emails.3.",
    "9" * 25,
    "completed",
    "failed",
    '{"type":"E","message":',
    '[0.5,"x"]',
    '{"job_id":"q.0.u","task":"t","args":',
)
_FIELDS = (
    "args",
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


def _text(draw: random.Random) -> str:
    """Words that mean something to a reader, in an order that means little."""
    count = draw.randrange(9)
    return "".join(
        draw.choice(_WORDS) if draw.random() < 0.8 else chr(draw.randrange(0xD7FF)) for _ in range(count)
    )


def _payload(number: int, words: list[str] | None = None, *, flag: bool = False) -> None:
    del number, words, flag


_SIGNATURE = Signature.of(_payload, "fuzzed")


def url(draw: random.Random) -> None:
    parse_url(_text(draw))


def schedule(draw: random.Random) -> None:
    fields = " ".join(_text(draw) or "*" for _ in range(5))
    parse_cron(fields if draw.random() < 0.5 else _text(draw)).explain()


def payload(draw: random.Random) -> None:
    text = _text(draw).encode(errors="replace")
    _SIGNATURE.decode(_SEAL.open_args(text, "fuzzed"))


def record(draw: random.Random) -> None:
    raw: list[bytes] = [b"status", draw.choice([b"completed", b"failed", b"queued"])]
    for name in draw.sample(_FIELDS, draw.randrange(len(_FIELDS))):
        raw += [name.encode(), draw.choice([_text(draw).encode(errors="replace"), draw.randbytes(8)])]
    failures = [_text(draw).encode(errors="replace")]
    repr(read_info(Keys("fuzz").shard("q", 0), "u", raw, failures, seal=_SEAL))
    read_error(_text(draw), seal=_SEAL, uid="u")


def headers(draw: random.Random) -> None:
    CallOptions(headers={_text(draw): _text(draw)}, dedupe_key=_text(draw))


def names(draw: random.Random) -> None:
    readers: tuple[Callable[[str], object], ...] = (JobId.parse, Address.parse, Keys)
    draw.choice(readers)(_text(draw))


TARGETS: Mapping[str, Target] = {
    "headers": headers,
    "names": names,
    "payload": payload,
    "record": record,
    "schedule": schedule,
    "url": url,
}


def found(target: Target, seed: str) -> str | None:
    """Run one case; return what went wrong, or None. The seed makes the same case again."""
    try:
        target(random.Random(seed))  # noqa: S311 -- a case, to be made again
    except CapelinError:
        return None
    except Exception as error:  # noqa: BLE001 -- whatever it is, no reader may raise it
        return f"{type(error).__name__}: {error}"
    return None
