"""Words that mean something to one reader or another, in an order that means little to any."""

import random
from collections.abc import Callable

Target = Callable[[random.Random], None]
"""One case, made of what is drawn. It returns, or raises what may not happen."""

WORDS = (
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


def text(draw: random.Random) -> str:
    """Words that mean something to a reader, in an order that means little."""
    count = draw.randrange(9)
    return "".join(
        draw.choice(WORDS) if draw.random() < 0.8 else chr(draw.randrange(0xD7FF)) for _ in range(count)
    )


def raw(draw: random.Random) -> bytes:
    """Words as bytes, or bytes that are no words."""
    return draw.randbytes(draw.randrange(12)) if draw.random() < 0.2 else text(draw).encode(errors="replace")
