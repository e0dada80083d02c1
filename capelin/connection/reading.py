"""Reads a stream with `XREAD BLOCK`, on a wire of its own for each stream."""

from typing import Any

from capelin.connection.network import Network
from capelin.connection.refusals import Refusal, to_error
from capelin.connection.wire import Wire
from capelin.errors import Unreachable

Entries = list[tuple[str, dict[str, str]]]


class Reader:
    """The streams that one connection reads."""

    def __init__(self, network: Network, *, url: str) -> None:
        self._network, self._url = network, url
        self._idle: dict[str, Wire] = {}
        self._busy: dict[Wire, None] = {}
        self._closed = False

    async def read(self, key: str, last_id: str, *, block: float, count: int) -> Entries:
        """Entries after `last_id`, at most `count`; waits up to `block` seconds for the first.

        Raises:
            Unreachable, RedisRefused: As `Connection.run`. Reading takes nothing away: read again.
        """
        wire = self._idle.pop(key, None)
        if wire is None or wire.lost is not None:
            wire = await self._network.open(key)
        milliseconds = max(1, round(block * 1000))
        self._busy[wire] = None
        try:
            replies = await wire.send(
                [("XREAD", "COUNT", count, "BLOCK", milliseconds, "STREAMS", key, last_id)]
            )
        except BaseException:
            wire.drop("its reader was cancelled")
            raise
        finally:
            del self._busy[wire]
        if not replies:
            self._network.doubt()
            raise Unreachable(url=self._url, cause=f"{wire.name}: {wire.lost}")
        reply = replies[0]
        if isinstance(reply, Refusal):
            wire.drop("it refused")
            self._network.learn(reply)
            if reply.redirects:
                raise Unreachable(url=self._url, cause=f"{wire.name}: the stream's slot is moving")
            raise to_error(reply, url=self._url, server=wire.name)
        if self._closed or key in self._idle:
            wire.drop("not needed any more")
        else:
            self._idle[key] = wire
        return _entries(reply)

    async def close(self) -> None:
        """Close every wire; whoever reads gets `Unreachable`."""
        self._closed = True
        for wire in [*self._idle.values(), *self._busy]:
            await wire.close()
        self._idle.clear()


def _entries(reply: Any) -> Entries:
    """What is not text arrives with those bytes replaced: judge it, and go on with the next entry."""
    entries: Entries = []
    for entry_id, flat in reply[0][1] if reply else ():
        texts = [text.decode(errors="replace") for text in flat or ()]
        entries.append((entry_id.decode(), dict(zip(texts[::2], texts[1::2], strict=False))))
    return entries
