"""A bare connection to a whole cluster: each command goes to the master that serves its key's slot."""

from types import TracebackType
from typing import TYPE_CHECKING, Self

from tests.support.resp import Connection, Reply, texts

if TYPE_CHECKING:
    from tests.support.cluster import RedisCluster


def tag_of(key: str) -> str:
    """What decides a key's slot: its hash tag, or all of it."""
    inside, closed, _ = key.partition("{")[2].partition("}")
    return inside if inside and closed else key


class ClusterConnection:
    """Speaks with a cluster as `resp.Connection` does with a server; slots that move are not followed.

    `KEYS` asks every master. Any other command is routed by its first word with a hash tag, or by the word
    after its name.
    """

    def __init__(self, cluster: "RedisCluster") -> None:
        self._cluster = cluster
        self._masters: dict[int, Connection] = {}
        self._ports: dict[str, int] = {}

    def __call__(self, *words: str | bytes | float) -> Reply:
        """Run one command."""
        if words[0] == "KEYS":
            masters = [self._to(node.port) for node in self._cluster.running_masters]
            return [key for master in masters for key in texts(master(*words))]
        return self._to(self._port_of(words))(*words)

    def pipeline(self, *commands: tuple[str | bytes | float, ...]) -> list[Reply]:
        """All commands, those for one master in one go; the replies in order."""
        places: dict[int, list[int]] = {}
        for place, words in enumerate(commands):
            places.setdefault(self._port_of(words), []).append(place)
        replies: list[Reply] = [None] * len(commands)
        for port, chosen in places.items():
            answers = self._to(port).pipeline(*[commands[place] for place in chosen])
            for place, answer in zip(chosen, answers, strict=True):
                replies[place] = answer
        return replies

    def close(self) -> None:
        """Close what was opened."""
        for master in self._masters.values():
            master.close()
        self._masters.clear()

    def _port_of(self, words: tuple[str | bytes | float, ...]) -> int:
        given = [word for word in words[1:] if isinstance(word, str)]
        key = next((word for word in given if "{" in word and "\n" not in word), given[0])
        tag = tag_of(key)
        if tag not in self._ports:
            self._ports[tag] = self._cluster.owner_of(self._cluster.slot_of(key)).port
        return self._ports[tag]

    def _to(self, port: int) -> Connection:
        if port not in self._masters:
            self._masters[port] = Connection(port)
        return self._masters[port]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
