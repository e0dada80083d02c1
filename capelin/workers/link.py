"""Questions from a supervisor to its worker processes: lines of JSON over a socket pair.

A worker answers in a thread of its own, so that one whose event loop is blocked answers, too.
"""

import asyncio
import contextlib
import json
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Final

_LONGEST_LINE: Final = 16 * 1024 * 1024


class Link:
    """The supervisor's end.

    Args:
        end: Its socket, which belongs to the link from now on.
    """

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._turn = asyncio.Lock()
        self._number = 0
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, question: str) -> Any:
        """Ask, and return the answer.

        Raises:
            ConnectionError: The worker is gone.
            TimeoutError: Only if the caller limits the time: a worker may be unable to answer.
        """
        async with self._turn:
            if self._streams is None:
                self._streams = await asyncio.open_connection(sock=self._end, limit=_LONGEST_LINE)
            reader, writer = self._streams
            self._number += 1
            writer.write(json.dumps([self._number, question]).encode() + b"\n")
            await writer.drain()
            while line := await reader.readline():
                number, answer = json.loads(line)
                if number == self._number:  # else it answers what nobody waits for any more
                    return answer
            raise ConnectionResetError("the worker is gone")

    def close(self) -> None:
        """Close it."""
        if self._streams is not None:
            self._streams[1].close()
        else:
            self._end.close()


async def answer_for_ever(end: socket.socket, answer: Callable[[str], Awaitable[Any]]) -> None:
    """Answer a supervisor's questions, one after the other, until it is gone."""
    reader, writer = await asyncio.open_connection(sock=end, limit=_LONGEST_LINE)
    with contextlib.suppress(ConnectionError):
        while line := await reader.readline():
            number, question = json.loads(line)
            writer.write(json.dumps([number, await answer(question)]).encode() + b"\n")
            await writer.drain()
    writer.close()
