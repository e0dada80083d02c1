"""Looking into a `memory://` server as into a real one, for the key-leak check."""

from typing import Any, cast

import fakeredis

from capelin.connection import memory
from tests.support.resp import Reply

SCHEME = "memory://"


class MemoryConnection:
    """Asks the in-process server behind a URL, as `resp.Connection` asks a real one."""

    def __init__(self, url: str) -> None:
        self._name = url.removeprefix(SCHEME)
        self._client: Any = fakeredis.FakeRedis(
            server=memory.server(self._name),
            protocol=2,
            decode_responses=True,
            encoding_errors="surrogateescape",
        )
        # Replies as the server gives them, not as the library would like them.
        self._client.response_callbacks.clear()

    def __call__(self, *words: str | bytes | float) -> Reply:
        """Run one command."""
        return cast(Reply, self._client.execute_command(*words))

    def pipeline(self, *commands: tuple[str | bytes | float, ...]) -> list[Reply]:
        """Run them one after the other."""
        return [self(*words) for words in commands]

    def close(self) -> None:
        """Close, and forget the server with all its keys."""
        self._client.close()
        memory.forget(self._name)
